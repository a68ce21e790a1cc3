//! Whether a function that is called like one of `aop:agent`'s features is one: the host reads what those return by
//! its structure, so another one would fail at every use instead of once, when it is loaded.
//!
//! Types are compared by structure, since a component keeps no trace of where a type came from.

use crate::interface::{Feature, Function, Interface, TypeId, TypeKind};

/// No feature's structure is longer; a hostile one ends here.
const STRUCTURE_MAX_BYTES: usize = 2 << 10;

const ANNOTATIONS: &str = "option<record{audience:list<enum{user,assistant}>,priority:option<f64>,last-modified:option<string>}>";
const BODY: &str = "variant{text(string),blob(list<u8>)}";

/// Why a function cannot offer the feature that it is called like; none when it can.
pub(super) fn misfit(
    interface: &Interface,
    function: &Function,
    feature: Feature,
) -> Option<String> {
    let mut found = String::new();
    for parameter in &function.parameters {
        spell(interface, parameter.ty, &mut found);
        found.push(';');
    }
    if let Some(result) = function.result {
        spell(interface, result, &mut found);
    }
    (found != structure(feature)).then(|| {
        format!(
            "its types are not those of `aop:agent`, so it cannot offer {}: build it with the WIT of that package, or export it from an interface of another name",
            feature.as_str()
        )
    })
}

/// The parameters and the result of a feature.
fn structure(feature: Feature) -> String {
    let known = "list<tuple<string,string>>;";
    let described = "name:string,title:option<string>,description:option<string>";
    let block = format!(
        "variant{{text(record{{text:string,annotations:{ANNOTATIONS}}}),image({media}),audio({media}),link(record{{uri:string,{described},mime-type:option<string>,size:option<u64>,annotations:{ANNOTATIONS}}}),embedded(record{{uri:string,mime-type:option<string>,body:{BODY},annotations:{ANNOTATIONS}}})}}",
        media = format_args!("record{{data:list<u8>,mime-type:string,annotations:{ANNOTATIONS}}}"),
    );
    let skill = format!(
        "record{{name:string,files:list<record{{path:string,mime-type:option<string>,body:{BODY}}}>,dynamic:bool}}"
    );
    match feature {
        Feature::ResourcesList => format!(
            "result<list<record{{uri:string,{described},mime-type:option<string>,size:option<u64>,annotations:{ANNOTATIONS}}}>,string>"
        ),
        Feature::ResourcesTemplates => format!(
            "result<list<record{{uri-template:string,{described},mime-type:option<string>,annotations:{ANNOTATIONS}}}>,string>"
        ),
        Feature::ResourcesRead => format!(
            "string;result<list<record{{uri:string,mime-type:option<string>,body:{BODY}}}>,variant{{not-found,failed(string)}}>"
        ),
        Feature::PromptsList => format!(
            "result<list<record{{{described},parameters:list<record{{name:string,description:option<string>,required:bool}}>}}>,string>"
        ),
        Feature::PromptsGet => format!(
            "string;{known}result<record{{description:option<string>,messages:list<record{{role:enum{{user,assistant}},content:{block}}}>}},variant{{not-found,invalid(string),failed(string)}}>"
        ),
        Feature::CompletionComplete => format!(
            "variant{{prompt(string),template(string)}};string;string;{known}result<record{{values:list<string>,total:option<u32>,has-more:bool}},string>"
        ),
        Feature::SkillsList => format!("result<list<{skill}>,string>"),
        Feature::SkillsGet => {
            format!("string;result<{skill},variant{{not-found,failed(string)}}>")
        }
    }
}

/// The structure of a type, without its name.
fn spell(interface: &Interface, id: TypeId, text: &mut String) {
    use TypeKind as K;
    if text.len() > STRUCTURE_MAX_BYTES {
        return;
    }
    let mut several = |word: &str, parts: &[(&str, Option<TypeId>)], [open, close]: [&str; 2]| {
        text.push_str(word);
        text.push_str(open);
        for (index, (name, ty)) in parts.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(name);
            match ty {
                Some(ty) if word == "variant" => {
                    text.push('(');
                    spell(interface, *ty, text);
                    text.push(')');
                }
                Some(ty) => {
                    if word == "record" {
                        text.push(':');
                    }
                    spell(interface, *ty, text);
                }
                None => {}
            }
        }
        text.push_str(close);
    };
    let (angles, braces) = (["<", ">"], ["{", "}"]);
    match &interface.get(id).kind {
        K::Bool => text.push_str("bool"),
        K::U8 => text.push_str("u8"),
        K::U32 => text.push_str("u32"),
        K::U64 => text.push_str("u64"),
        K::F64 => text.push_str("f64"),
        K::String => text.push_str("string"),
        K::List(of) => several("list", &[("", Some(*of))], angles),
        K::Option(of) => several("option", &[("", Some(*of))], angles),
        K::Tuple(types) => {
            let types: Vec<_> = types.iter().map(|ty| ("", Some(*ty))).collect();
            several("tuple", &types, angles);
        }
        K::Result { ok, err } => several("result", &[("", *ok), ("", *err)], angles),
        K::Record(fields) => {
            let fields: Vec<_> = fields.iter().map(|f| (f.name.as_str(), Some(f.ty))).collect();
            several("record", &fields, braces);
        }
        K::Variant(cases) => {
            let cases: Vec<_> = cases.iter().map(|case| (case.name.as_str(), case.ty)).collect();
            several("variant", &cases, braces);
        }
        K::Enum(labels) => {
            let labels: Vec<_> = labels.iter().map(|label| (label.name.as_str(), None)).collect();
            several("enum", &labels, braces);
        }
        // No feature has others.
        _ => text.push('?'),
    }
}
