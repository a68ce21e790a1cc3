//! What a running agent asks of its host, whether or not its policy grants it: what `aop policy learn` writes down.
//!
//! A host that serves has no witness, so that calls cost nothing for it. What is seen was chosen by a guest: whoever
//! keeps it bounds it.

use http::{Method, Uri};

/// One thing that an agent asked for.
#[derive(Debug, Clone, Copy)]
pub enum Asked<'a> {
    /// To send a request.
    Request(&'a Method, &'a Uri),
    /// To send one that a rule permits, to a name that leads to private addresses only.
    PrivateAddress(&'a Uri),
    /// To call a tool or to read its schema, by a name that may be anything.
    Tool(&'a str),
    /// To search for tools.
    Search,
    /// To read its environment: all variables at once, whichever it means.
    Environment,
    /// To read in a directory.
    Read(&'a str),
    /// To change something in a directory.
    Write(&'a str),
    /// To talk to its model.
    Model,
    /// To use state that all agents of the tenant share.
    SharedState,
    /// To know the time, or how much of it passed.
    Clock,
    /// To have secure random numbers.
    Random,
}

/// Sees what agents ask for. Called on the path of calls: never blocks.
pub trait Witness: Send + Sync {
    /// An agent asked for something, and its policy granted or refused it.
    fn saw(&self, asked: Asked<'_>, granted: bool);
}
