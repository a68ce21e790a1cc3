//! aop-tests
