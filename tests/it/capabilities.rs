//! What agents ask their host for: every capability through a component, a real runtime and a real
//! dispatcher, with the rest of the host played by fakes. And what agents ask that they may not.

mod elicit;
mod files;
mod http;
mod http_0_3;
mod keyvalue;
mod model;
mod served;
mod surroundings;
mod tools;
mod world;
