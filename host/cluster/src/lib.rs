//! aop-cluster
