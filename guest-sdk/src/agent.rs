//! The macros that make a crate an agent.

/// Carries a WIT file in the component, so that its doc comments become tool descriptions.
///
/// A component has the *types* of its functions but none of their doc comments: every toolchain drops
/// them. An agent therefore carries its WIT source as text, in the custom section `agent.wit`, and the
/// host reads the doc comments from there. They become the descriptions that a model sees when it
/// chooses a tool, so write them for a reader who knows nothing but that text.
///
/// The path is a string literal relative to the crate's `Cargo.toml`, as in `wit_bindgen::generate!`. Use the
/// macro once, at the root of the agent, on the file that declares its world: the section holds one
/// WIT package, and text from two files would run together. The text survives link-time
/// optimisation and `strip = true`. It is readable by whoever has the component, so keep secrets
/// out of it. [`agent!`](crate::agent!) does this already.
///
/// On targets other than wasm (the unit tests of an agent) the file only has to exist.
///
/// ```
/// aop_agent::embed_wit!("wit/greeting.wit");
/// # fn main() {}
/// ```
///
/// A file that is not there does not compile:
///
/// ```compile_fail
/// aop_agent::embed_wit!("wit/absent.wit");
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! embed_wit {
    ($path:literal) => {
        $crate::__embed!(include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $path)));
    };
}

/// Carries bytes in the section `agent.wit`.
#[doc(hidden)]
#[macro_export]
macro_rules! __embed {
    ($bytes:expr) => {
        const _: () = {
            const TEXT: &[u8] = $bytes;

            // An array and not a slice: a custom section holds bytes, it cannot hold pointers.
            // The section is named on wasm only, since Mach-O spells section names differently.
            #[used]
            #[cfg_attr(target_family = "wasm", unsafe(link_section = "agent.wit"))]
            static SECTION: [u8; TEXT.len()] = *$bytes;
        };
    };
}

/// Registers an agent: generates the traits of its WIT, exports a type that implements them, and embeds
/// the WIT text. Use it once, at the root of the crate.
///
/// The traits are where `wit_bindgen::generate!` puts them: `Guest` for functions of the world itself,
/// `exports::<namespace>::<package>::<interface>::Guest` for those of an interface.
///
/// ```
/// aop_agent::agent! { agent: Greeter, wit: "wit/greeting.wit" }
///
/// struct Greeter;
///
/// impl Guest for Greeter {
///     fn greet(name: String) -> String {
///         format!("Hello, {name}!")
///     }
/// }
/// # fn main() {}
/// ```
///
/// An agent that answers with [`content`](crate::content), or offers [`resources`](crate::resources),
/// [`prompts`](crate::prompts), [`completion`](crate::completion) or [`skills`](crate::skills), names them in its
/// world and says where the package `aop:agent` is. What it `offers` it implements by the traits of those modules:
///
/// ```
/// use aop_agent::content::Body;
/// use aop_agent::resources::{Contents, Entry, ReadError, Resources};
///
/// aop_agent::agent! {
///     agent: Almanac,
///     wit: "wit/almanac.wit",
///     world: "example:almanac/almanac",
///     packages: ["wit/host/agent-0.1.0"],
///     offers: [resources],
/// }
///
/// struct Almanac;
///
/// impl Guest for Almanac {
///     fn sunrise() -> Vec<Block> {
///         vec![Block::text("06:12"), Block::link("almanac://today", "today")]
///     }
/// }
///
/// impl Resources for Almanac {
///     fn list() -> Result<Vec<Entry>, String> {
///         Ok(vec![Entry::new("almanac://today", "today").mime_type("text/plain")])
///     }
///
///     fn read(uri: &str) -> Result<Vec<Contents>, ReadError> {
///         match uri {
///             "almanac://today" => Ok(vec![Contents::new(uri, Body::text("Sunny."))]),
///             _ => Err(ReadError::NotFound),
///         }
///     }
/// }
/// # fn main() {}
/// ```
///
/// An agent with the standard interface has no WIT of its own:
///
/// ```
/// aop_agent::agent! { task: Parrot }
///
/// struct Parrot;
///
/// impl aop_agent::task::Task for Parrot {
///     fn run(
///         task: String,
///         _img: Option<String>,
///         _imgs: Option<Vec<String>>,
///         _correct_answer: Option<String>,
///     ) -> Result<String, String> {
///         Ok(task)
///     }
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! agent {
    (agent: $agent:ident, wit: $wit:literal $(, world: $world:literal)? $(,)?) => {
        $crate::wit_bindgen::generate!({
            path: $wit,
            $(world: $world,)?
            runtime_path: "::aop_agent::wit_bindgen::rt",
            generate_all,
        });
        $crate::embed_wit!($wit);
        export!($agent);
    };
    (
        agent: $agent:ident,
        wit: $wit:literal,
        world: $world:literal,
        packages: [$($package:literal),+ $(,)?]
        $(, offers: [$($feature:ident),* $(,)?])?
        $(,)?
    ) => {
        $crate::wit_bindgen::generate!({
            path: [$($package,)+ $wit],
            world: $world,
            runtime_path: "::aop_agent::wit_bindgen::rt",
            with: { "aop:agent/content@0.1.0": ::aop_agent::content },
            generate_all,
        });
        $crate::embed_wit!($wit);
        $($($crate::__offer!($feature $agent);)*)?
        export!($agent);
    };
    (task: $agent:ident $(,)?) => {
        $crate::__embed!($crate::task::WIT);
        $crate::task::export_task!($agent);
    };
}

/// Implements the generated trait of a feature by the SDK's own, whose types have constructors.
#[doc(hidden)]
#[macro_export]
macro_rules! __offer {
    (resources $agent:ident) => {
        const _: () = {
            use exports::aop::agent::resources as generated;
            use $crate::resources::{ReadError, Resources};

            impl generated::Guest for $agent {
                fn list() -> Result<Vec<generated::Entry>, String> {
                    let entry = |entry: $crate::resources::Entry| generated::Entry {
                        uri: entry.uri,
                        name: entry.name,
                        title: entry.title,
                        description: entry.description,
                        mime_type: entry.mime_type,
                        size: entry.size,
                        annotations: entry.annotations,
                    };
                    Ok(<$agent as Resources>::list()?.into_iter().map(entry).collect())
                }

                fn templates() -> Result<Vec<generated::Template>, String> {
                    let template = |template: $crate::resources::Template| generated::Template {
                        uri_template: template.uri_template,
                        name: template.name,
                        title: template.title,
                        description: template.description,
                        mime_type: template.mime_type,
                        annotations: template.annotations,
                    };
                    Ok(<$agent as Resources>::templates()?.into_iter().map(template).collect())
                }

                fn read(uri: String) -> Result<Vec<generated::Contents>, generated::ReadError> {
                    let contents = |contents: $crate::resources::Contents| generated::Contents {
                        uri: contents.uri,
                        mime_type: contents.mime_type,
                        body: contents.body,
                    };
                    match <$agent as Resources>::read(&uri) {
                        Ok(found) => Ok(found.into_iter().map(contents).collect()),
                        Err(ReadError::NotFound) => Err(generated::ReadError::NotFound),
                        Err(ReadError::Failed(why)) => Err(generated::ReadError::Failed(why)),
                    }
                }
            }
        };
    };
    (prompts $agent:ident) => {
        const _: () = {
            use exports::aop::agent::prompts as generated;
            use $crate::prompts::{Arguments, GetError, Prompts};

            impl generated::Guest for $agent {
                fn list() -> Result<Vec<generated::Entry>, String> {
                    let parameter = |parameter: $crate::prompts::Parameter| generated::Parameter {
                        name: parameter.name,
                        description: parameter.description,
                        required: parameter.required,
                    };
                    let entry = |entry: $crate::prompts::Entry| generated::Entry {
                        name: entry.name,
                        title: entry.title,
                        description: entry.description,
                        parameters: entry.parameters.into_iter().map(parameter).collect(),
                    };
                    Ok(<$agent as Prompts>::list()?.into_iter().map(entry).collect())
                }

                fn get(
                    name: String,
                    arguments: Vec<(String, String)>,
                ) -> Result<generated::Prompt, generated::GetError> {
                    let message = |message: $crate::prompts::Message| generated::Message {
                        role: message.role,
                        content: message.content,
                    };
                    match <$agent as Prompts>::get(&name, &Arguments::from(arguments)) {
                        Ok(prompt) => Ok(generated::Prompt {
                            description: prompt.description,
                            messages: prompt.messages.into_iter().map(message).collect(),
                        }),
                        Err(GetError::NotFound) => Err(generated::GetError::NotFound),
                        Err(GetError::Invalid(why)) => Err(generated::GetError::Invalid(why)),
                        Err(GetError::Failed(why)) => Err(generated::GetError::Failed(why)),
                    }
                }
            }
        };
    };
    (completion $agent:ident) => {
        const _: () = {
            use exports::aop::agent::completion as generated;
            use $crate::completion::{Completion, Subject};
            use $crate::prompts::Arguments;

            impl generated::Guest for $agent {
                fn complete(
                    subject: generated::Subject,
                    name: String,
                    value: String,
                    known: Vec<(String, String)>,
                ) -> Result<generated::Suggestions, String> {
                    let subject = match subject {
                        generated::Subject::Prompt(name) => Subject::Prompt(name),
                        generated::Subject::Template(template) => Subject::Template(template),
                    };
                    let known = Arguments::from(known);
                    let found = <$agent as Completion>::complete(&subject, &name, &value, &known)?;
                    Ok(generated::Suggestions {
                        values: found.values,
                        total: found.total,
                        has_more: found.has_more,
                    })
                }
            }
        };
    };
    (skills $agent:ident) => {
        const _: () = {
            use exports::aop::agent::skills as generated;
            use $crate::skills::{GetError, Skills};

            fn skill(skill: $crate::skills::Skill) -> generated::Skill {
                let file = |file: $crate::skills::File| generated::File {
                    path: file.path,
                    mime_type: file.mime_type,
                    body: file.body,
                };
                generated::Skill {
                    name: skill.name,
                    files: skill.files.into_iter().map(file).collect(),
                    dynamic: skill.dynamic,
                }
            }

            impl generated::Guest for $agent {
                fn list() -> Result<Vec<generated::Skill>, String> {
                    Ok(<$agent as Skills>::list()?.into_iter().map(skill).collect())
                }

                fn get(name: String) -> Result<generated::Skill, generated::GetError> {
                    match <$agent as Skills>::get(&name) {
                        Ok(found) => Ok(skill(found)),
                        Err(GetError::NotFound) => Err(generated::GetError::NotFound),
                        Err(GetError::Failed(why)) => Err(generated::GetError::Failed(why)),
                    }
                }
            }
        };
    };
}
