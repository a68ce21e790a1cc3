//! aop-runtime
