//! aop-dispatch
