//! aop-services
