//! An agent made of settings alone: a model, a system prompt, and the tools that it may use.
//!
//! The component has no mind of its own. Its settings bind a model with a system prompt and parameters
//! (`[model]`) and say which tools of other agents it may call (`[policy] tools`). A task then goes back and
//! forth between the model and the tools until the model answers ([`conversation`]). Any number of agents
//! share this one component, each with settings of its own.

mod conversation;
mod images;
mod memory;
mod toolbox;

aop_agent::agent! { task: Assistant }

struct Assistant;

impl aop_agent::task::Task for Assistant {
    // What is expected is for agents that check themselves: a model that is told it would repeat it.
    fn run(
        task: String,
        img: Option<String>,
        imgs: Option<Vec<String>>,
        _correct_answer: Option<String>,
    ) -> Result<String, String> {
        let images: Vec<String> = img.into_iter().chain(imgs.unwrap_or_default()).collect();
        conversation::hold(&task, &images)
    }
}
