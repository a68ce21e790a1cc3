//! aop-mcp
