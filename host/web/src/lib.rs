//! aop-web
