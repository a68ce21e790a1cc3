//! aop-store
