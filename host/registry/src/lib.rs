//! aop-registry
