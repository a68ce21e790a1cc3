//! aop-access
