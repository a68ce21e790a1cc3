//! From the schema model to JSON Schema, tool names and tools.
