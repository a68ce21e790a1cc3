use super::*;
use crate::interface::{Case, Field, Function, Label, TypeDef, TypeId, TypeKind};
use serde_json::{Value, json};

fn table(kinds: Vec<TypeKind>) -> Vec<TypeDef> {
    kinds.into_iter().map(|kind| TypeDef { name: None, docs: None, kind }).collect()
}

fn function(path: &str) -> Function {
    let (interface, name) = match path.split_once('#') {
        Some((interface, name)) => (Some(interface.to_owned()), name),
        None => (None, path),
    };
    Function {
        interface,
        name: name.to_owned(),
        parameters: Vec::new(),
        result: None,
        is_async: false,
        docs: None,
        signature: format!("{name}: func()"),
    }
}

fn exports(paths: &[&str]) -> Interface {
    Interface {
        functions: paths.iter().map(|path| function(path)).collect(),
        ..Interface::default()
    }
}

fn agent() -> AgentName {
    AgentName::new("my-kit").unwrap()
}

type Published = BTreeMap<String, Vec<ToolName>>;

fn tools(interface: &Interface, settings: &Settings, published: &Published) -> ToolSet {
    ToolSet::new(interface, &agent(), settings, published).unwrap()
}

fn names(set: &ToolSet) -> Vec<&str> {
    set.tools.iter().map(|tool| tool.name.as_str()).collect()
}

fn derived(paths: &[&str]) -> Vec<String> {
    let set = tools(&exports(paths), &Settings::default(), &Published::new());
    let mut named: Vec<_> =
        set.tools.iter().map(|tool| (tool.function, tool.name.to_string())).collect();
    named.sort();
    named.into_iter().map(|(_, name)| name).collect()
}

fn renamed(pairs: &[(&str, &str)]) -> Settings {
    let tools = pairs.iter().map(|(key, name)| {
        let name = Some(ToolName::new(name).unwrap());
        ((*key).to_owned(), ToolSettings { name, ..ToolSettings::default() })
    });
    Settings { tools: tools.collect(), ..Settings::default() }
}

fn mistakes(interface: &Interface, settings: &Settings, published: &Published) -> Vec<String> {
    match ToolSet::new(interface, &agent(), settings, published) {
        Err(SchemaError::Settings(mistakes)) => mistakes,
        other => vec![format!("{other:?}")],
    }
}

#[test]
fn tools_are_named_after_agent_and_function() {
    assert_eq!(derived(&["run"]), ["my-kit"]);
    assert_eq!(derived(&["a:b/c@1.0.0#run"]), ["my-kit"]);
    assert_eq!(derived(&["run", "get-URL"]), ["my-kit_run", "my-kit_get_URL"]);
    assert_eq!(derived(&["summarize"]), ["my-kit_summarize"]);
}

#[test]
fn a_shared_function_name_takes_as_much_of_the_interface_as_it_needs() {
    assert_eq!(
        derived(&["a:b/c#f", "a:b/d#f", "a:b/d#g"]),
        ["my-kit_c_f", "my-kit_d_f", "my-kit_g"]
    );
    assert_eq!(derived(&["a:b/c#f", "f"]), ["my-kit_c_f", "my-kit_f"]);
    assert_eq!(derived(&["a:b/c#f", "a:x-y/c#f"]), ["my-kit_b_c_f", "my-kit_x_y_c_f"]);
    assert_eq!(derived(&["a:b/c#f", "z:b/c#f"]), ["my-kit_a_b_c_f", "my-kit_z_b_c_f"]);
    assert_eq!(
        derived(&["a:b/c@1.0.0#f", "a:b/c@2.0.0#f"]),
        ["my-kit_v1_0_0_a_b_c_f", "my-kit_v2_0_0_a_b_c_f"]
    );
    // A qualified name may run into a root function's.
    assert_eq!(
        derived(&["a:b/c#f", "a:b/d#f", "c-f"]),
        ["my-kit_b_c_f", "my-kit_d_f", "my-kit_c_f"]
    );
}

#[test]
fn a_name_that_does_not_fit_is_refused_with_the_fix() {
    let long = "f".repeat(64);
    let set = tools(&exports(&[&long, "g"]), &Settings::default(), &Published::new());
    assert_eq!(names(&set), ["my-kit_g"]);
    assert_eq!(set.refused[0].function, long);
    assert!(set.refused[0].reason.contains("has 71 characters, and model APIs accept 64"));
    assert!(set.refused[0].reason.contains("name = \"…\""));
    let set = tools(&exports(&[&long, "g"]), &renamed(&[(&long, "short")]), &Published::new());
    assert_eq!(names(&set), ["my-kit_g", "short"]);
    let set = tools(&exports(&[&"f".repeat(40)]), &Settings::default(), &Published::new());
    assert!(set.warnings[0].contains("more than 40 characters"), "{:?}", set.warnings);
}

#[test]
fn published_names_are_frozen() {
    let first = tools(&exports(&["a:b/c@1.0.0#run"]), &Settings::default(), &Published::new());
    assert_eq!(names(&first), ["my-kit"]);
    // More functions, one of the same name, and a newer version of the interface.
    let more = exports(&["a:b/c@1.1.0#run", "a:b/d#run", "f"]);
    let second = tools(&more, &Settings::default(), &first.published);
    assert_eq!(names(&second), ["my-kit", "my-kit_f", "my-kit_run"]);
    assert_eq!(second.tools[0].function, 0);
    // Once more with the same functions: the same names.
    assert_eq!(names(&tools(&more, &Settings::default(), &second.published)), names(&second));
    // The first function is gone: its name goes with it.
    let third = tools(&exports(&["f"]), &Settings::default(), &second.published);
    assert_eq!(names(&third), ["my-kit_f"]);
    // It comes back and has its name again.
    let fourth = tools(&more, &Settings::default(), &third.published);
    assert_eq!(names(&fourth), names(&second));
}

#[test]
fn older_names_stay_callable_after_a_rename() {
    let both = exports(&["f", "g"]);
    let first = tools(&both, &Settings::default(), &Published::new());
    let second = tools(&both, &renamed(&[("f", "short")]), &first.published);
    assert_eq!(names(&second), ["my-kit_g", "short"]);
    let known: Vec<_> = second.published["f"].iter().map(ToolName::as_str).collect();
    assert_eq!(known, ["my-kit_f", "short"]);
    // Without the rename, the first name is listed again and the other is an alias.
    let third = tools(&both, &Settings::default(), &second.published);
    assert_eq!(names(&third), ["my-kit_f", "my-kit_g"]);
    assert_eq!(third.published, second.published);
    // An alias cannot be given to another function.
    let found = mistakes(&both, &renamed(&[("g", "short")]), &third.published);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].contains("the function `f` is or was called so; choose another name"),
        "{found:?}"
    );
}

#[test]
fn a_name_of_a_function_that_is_gone_can_be_taken() {
    let first = tools(&exports(&["a:b/c#f"]), &Settings::default(), &Published::new());
    let second = tools(&exports(&["a:b/d#f"]), &Settings::default(), &first.published);
    assert_eq!(names(&second), ["my-kit_f"]);
    let third = tools(&exports(&["a:b/c#f", "a:b/d#f"]), &Settings::default(), &second.published);
    let owner = third.tools.iter().find(|tool| tool.name.as_str() == "my-kit_f").unwrap();
    assert_eq!((owner.function, names(&third)), (1, vec!["my-kit_c_f", "my-kit_f"]));
}

#[test]
fn every_mistake_in_the_settings_is_named_with_its_fix() {
    let interface = exports(&["a:b/c#f", "a:b/d#f", "summarize", "g"]);
    let settings = renamed(&[
        ("sumarize", "x"),
        ("nothing-like-it", "x"),
        ("f", "y"),
        ("g", "aop_discover"),
        ("a:b/c#f", "same"),
        ("summarize", "same"),
    ]);
    let found = mistakes(&interface, &settings, &Published::new()).join("\n");
    for part in [
        "no function `sumarize`; did you mean `summarize`?",
        "no function `nothing-like-it`; `aop inspect` lists what it has",
        "could be several functions: write `[tools.\"a:b/c#f\"]` or `[tools.\"a:b/d#f\"]`",
        "names that start with `aop_` are reserved",
        "the function `a:b/c#f` is or was called so",
    ] {
        assert!(found.contains(part), "{part}\n{found}");
    }
    let twice = renamed(&[("a:b/c#f", "x"), ("f", "y")]);
    let found = mistakes(&exports(&["a:b/c#f"]), &twice, &Published::new());
    assert!(found[0].contains("are the same function: keep one of them"), "{found:?}");
}

#[test]
fn a_root_function_is_set_by_its_name() {
    let set = tools(
        &exports(&["a:b/c#f", "f"]),
        &renamed(&[("f", "x"), ("a:b/c#f", "y")]),
        &Published::new(),
    );
    assert_eq!((set.tools[0].function, names(&set)), (1, vec!["x", "y"]));
}

#[test]
fn settings_of_a_refused_function_are_a_warning() {
    let mut interface = exports(&["g"]);
    interface.refused.push(Refusal { function: "a:b/c#f".to_owned(), reason: "no".to_owned() });
    let set = tools(&interface, &renamed(&[("f", "x")]), &Published::new());
    assert!(set.warnings[0].contains("has no effect, since the function is refused: no"));
    assert_eq!(set.refused.len(), 1);
    assert!(
        tools(&exports(&[]), &Settings::default(), &Published::new()).warnings[0]
            .contains("no function")
    );
}

#[test]
fn descriptions_come_from_settings_then_docs_then_the_signature() {
    let mut interface = exports(&["f", "g"]);
    let describe = |interface: &Interface, settings: &Settings| {
        tools(interface, settings, &Published::new()).tools[0].description.clone()
    };
    assert_eq!(describe(&interface, &Settings::default()), "f: func()");
    interface.functions[0].docs = Some("Does it.".to_owned());
    assert_eq!(describe(&interface, &Settings::default()), "Does it.");
    let said = ToolSettings {
        description: Some("As the operator says.".to_owned()),
        title: Some("F".to_owned()),
        idempotent: true,
        read_only: Some(true),
        ..ToolSettings::default()
    };
    let settings = Settings { tools: [("f".to_owned(), said)].into(), ..Settings::default() };
    assert_eq!(describe(&interface, &settings), "As the operator says.");
    let tool = tools(&interface, &settings, &Published::new()).tools[0].clone();
    assert_eq!(
        (tool.title.as_deref(), tool.hints.idempotent, tool.hints.read_only),
        (Some("F"), true, Some(true))
    );
    let settings = Settings { description: Some("The agent.".to_owned()), ..Settings::default() };
    assert_eq!(describe(&exports(&["run"]), &settings), "The agent.");
    assert_eq!(describe(&exports(&["f"]), &settings), "f: func()");
}

fn schemas(interface: &Interface) -> (Value, Value) {
    let function = &interface.functions[0];
    let parse = |raw: Box<RawValue>| serde_json::from_str(raw.get()).unwrap();
    (
        parse(input_schema(interface, function, &[]).unwrap()),
        parse(output_schema(interface, function).unwrap()),
    )
}

fn identity(kinds: Vec<TypeKind>) -> Interface {
    let ty = TypeId(u32::try_from(kinds.len()).unwrap() - 1);
    let mut f = function("f");
    f.parameters = vec![Field { name: "value".to_owned(), docs: None, ty }];
    f.result = Some(ty);
    Interface { types: table(kinds), functions: vec![f], ..Interface::default() }
}

fn property(kinds: Vec<TypeKind>) -> Value {
    schemas(&identity(kinds)).0["properties"]["value"].clone()
}

#[test]
fn a_feature_is_no_tool_and_the_other_tool_is_still_alone() {
    let paths = ["aop:agent/prompts@0.1.0#list", "acme:x/y#run", "aop:agent/resources@0.2.3#read"];
    let set = tools(&exports(&paths), &Settings::default(), &Published::new());
    assert_eq!(names(&set), ["my-kit"]);
    // They are called like features and have other types.
    assert!(set.features.is_empty());
    let refused: Vec<_> = set.refused.iter().map(|refusal| refusal.function.as_str()).collect();
    assert_eq!(refused, [paths[0], paths[2]]);
    assert!(set.refused[0].reason.contains("`aop:agent`"), "{}", set.refused[0].reason);
    assert!(set.warnings.is_empty(), "{:?}", set.warnings);
}

/// `aop:agent/content.block`, as far as it tells.
fn blocks() -> Vec<TypeKind> {
    let record = |field: &str, ty| {
        TypeKind::Record(vec![Field { name: field.to_owned(), docs: None, ty: TypeId(ty) }])
    };
    let case = |name: &str, ty| Case { name: name.to_owned(), docs: None, ty: Some(TypeId(ty)) };
    vec![
        TypeKind::String,
        TypeKind::List(TypeId(0)),
        record("text", 0),
        record("data", 1),
        record("uri", 0),
        TypeKind::Variant(vec![
            case("text", 2),
            case("image", 3),
            case("audio", 3),
            case("link", 4),
            case("embedded", 4),
        ]),
    ]
}

#[test]
fn a_tool_that_answers_with_content_has_no_output_schema() {
    let with = |last: Vec<TypeKind>| {
        let kinds: Vec<_> = blocks().into_iter().chain(last).collect();
        let mut f = function("f");
        f.result = Some(TypeId(u32::try_from(kinds.len()).unwrap() - 1));
        Interface { types: table(kinds), functions: vec![f], ..Interface::default() }
    };
    let list = TypeKind::List(TypeId(5));
    let result = |ok| TypeKind::Result { ok: Some(TypeId(ok)), err: Some(TypeId(0)) };
    for content in [vec![], vec![list.clone()], vec![result(5)], vec![list.clone(), result(6)]] {
        let interface = with(content);
        assert!(ResultShape::of(&interface, &interface.functions[0]).is_content);
        let set = tools(&interface, &Settings::default(), &Published::new());
        assert!(set.tools[0].output_schema.is_none());
    }
    for other in [vec![TypeKind::List(TypeId(4))], vec![TypeKind::Option(TypeId(5))]] {
        let set = tools(&with(other), &Settings::default(), &Published::new());
        assert!(set.tools[0].output_schema.is_some());
    }
}

#[test]
fn the_standard_interface_has_the_papers_schemas() {
    let mut run = function("aop:agent/agent@0.1.0#run");
    let field = |name: &str, ty| Field { name: name.to_owned(), docs: None, ty: TypeId(ty) };
    run.parameters =
        vec![field("task", 0), field("img", 1), field("imgs", 3), field("correct-answer", 1)];
    run.result = Some(TypeId(4));
    let interface = Interface {
        types: table(vec![
            TypeKind::String,
            TypeKind::Option(TypeId(0)),
            TypeKind::List(TypeId(0)),
            TypeKind::Option(TypeId(2)),
            TypeKind::Result { ok: Some(TypeId(0)), err: Some(TypeId(0)) },
        ]),
        functions: vec![run],
        ..Interface::default()
    };
    let (input, output) = schemas(&interface);
    let text = json!({"type": "string"});
    assert_eq!(
        input,
        json!({
            "type": "object",
            "properties": {
                "task": {"type": "string", "description": "Primary task"},
                "img": {"anyOf": [text, {"type": "null"}], "description": "Single image path"},
                "imgs": {"anyOf": [{"type": "array", "items": text}, {"type": "null"}], "description": "Multiple images"},
                "correct_answer": {
                    "anyOf": [text, {"type": "null"}],
                    "description": "The answer that is known to be correct, to compare with"
                },
            },
            "required": ["task"],
            "additionalProperties": false,
        })
    );
    assert_eq!(
        output["properties"]["result"],
        json!({"type": "string", "description": "Agent response"})
    );
    assert_eq!(output["properties"]["success"]["type"], "boolean");
    assert_eq!(output["properties"]["error"]["type"], "string");
    assert_eq!(output["required"], json!(["success"]));
}

#[test]
fn types_are_rendered_as_the_mapping_says() {
    use TypeKind as K;
    let of = TypeId(0);
    assert_eq!(property(vec![K::U8]), json!({"type": "integer", "minimum": 0, "maximum": 255}));
    assert_eq!(property(vec![K::Char]), json!({"type": "string", "minLength": 1, "maxLength": 1}));
    assert_eq!(
        property(vec![K::U8, K::List(of)]),
        json!({"type": "string", "contentEncoding": "base64", "description": "Base64"})
    );
    assert_eq!(
        property(vec![K::F64])["anyOf"],
        json!([{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}])
    );
    assert_eq!(
        property(vec![K::Bool, K::Tuple(vec![of, of])]),
        json!({
            "type": "array", "prefixItems": [{"type": "boolean"}, {"type": "boolean"}],
            "minItems": 2, "maxItems": 2, "items": {"anyOf": [{"type": "boolean"}]},
        })
    );
    let long = property(vec![K::Bool, K::FixedList(of, 1_000_000)]);
    assert_eq!((&long["minItems"], &long["maxItems"]), (&json!(1_000_000), &json!(1_000_000)));
    assert_eq!(long["prefixItems"].as_array().unwrap().len(), 16);
    assert_eq!(
        property(vec![K::String, K::Map(of, of)]),
        json!({"type": "object", "additionalProperties": {"type": "string"}})
    );
    assert_eq!(property(vec![K::U8, K::Map(of, of)])["items"]["minItems"], 2);
    let cases = vec![
        Case { name: "not-found".to_owned(), docs: Some("Nobody knows.".to_owned()), ty: None },
        Case { name: "late".to_owned(), docs: None, ty: Some(of) },
    ];
    assert_eq!(
        property(vec![K::Bool, K::Variant(cases)]),
        json!({"anyOf": [
            {
                "type": "object", "properties": {"tag": {"type": "string", "enum": ["not_found"]}},
                "required": ["tag"], "additionalProperties": false, "description": "Nobody knows.",
            },
            {
                "type": "object",
                "properties": {"tag": {"type": "string", "enum": ["late"]}, "val": {"type": "boolean"}},
                "required": ["tag", "val"], "additionalProperties": false,
            },
        ]})
    );
    let labels = vec![
        Label { name: "low-res".to_owned(), docs: Some("Small.".to_owned()) },
        Label { name: "HD".to_owned(), docs: None },
    ];
    assert_eq!(
        property(vec![K::Enum(labels.clone())]),
        json!({"type": "string", "enum": ["low_res", "HD"], "description": "- low_res: Small."})
    );
    assert_eq!(property(vec![K::Flags(labels)])["uniqueItems"], true);
}

/// Pairs of pairs of pairs: 2^depth nodes when inlined.
fn fan_out(depth: u32) -> Interface {
    let mut kinds = vec![TypeKind::Bool];
    for below in 0..depth {
        kinds.push(TypeKind::Tuple(vec![TypeId(below), TypeId(below)]));
    }
    identity(kinds)
}

#[test]
fn what_fans_out_is_shared_by_reference() {
    assert!(schemas(&fan_out(5)).0.get("$defs").is_none());
    let interface = fan_out(30);
    let (input, output) = schemas(&interface);
    assert_eq!(input["$defs"].as_object().unwrap().len(), 30);
    assert_eq!(input["properties"]["value"], json!({"$ref": "#/$defs/type_30"}));
    assert!(input.to_string().len() < 16 << 10);
    assert_eq!(lint::schema(&input), Vec::<String>::new());
    assert_eq!(lint::schema(&output), Vec::<String>::new());
    assert!(jsonschema::draft202012::meta::is_valid(&input));
    assert!(jsonschema::validator_for(&input).is_ok());
}

#[test]
fn a_schema_that_no_client_would_read_is_refused() {
    let field =
        |i: usize| Field { name: format!("f{i}"), docs: Some("x".repeat(1 << 10)), ty: TypeId(0) };
    let wide = identity(vec![TypeKind::Bool, TypeKind::Record((0..500).map(field).collect())]);
    let set = tools(&wide, &Settings::default(), &Published::new());
    assert!(set.tools.is_empty());
    assert!(set.refused[0].reason.contains("more than 256 KiB"), "{}", set.refused[0].reason);
}

#[test]
fn the_schemas_of_an_agent_are_bounded_together() {
    let field =
        |i: usize| Field { name: format!("f{i}"), docs: Some("x".repeat(1 << 10)), ty: TypeId(0) };
    let mut wide = identity(vec![TypeKind::Bool, TypeKind::Record((0..100).map(field).collect())]);
    let one = wide.functions[0].clone();
    wide.functions = (0..100).map(|i| Function { name: format!("f{i}"), ..one.clone() }).collect();
    let set = tools(&wide, &Settings::default(), &Published::new());
    let output = |t: &Tool| t.output_schema.as_ref().map_or(0, |schema| schema.get().len());
    let bytes: usize = set.tools.iter().map(|t| t.input_schema.get().len() + output(t)).sum();
    assert!(bytes <= SCHEMAS_MAX_BYTES && set.tools.len() > 20);
    assert!(
        set.refused[0].reason.contains("more than 8 MiB together"),
        "{}",
        set.refused[0].reason
    );
}

#[test]
fn parameter_names_are_bounded() {
    let mut interface = identity(vec![TypeKind::Bool]);
    interface.functions[0].parameters[0].name = "p".repeat(65);
    let set = tools(&interface, &Settings::default(), &Published::new());
    assert!(set.refused[0].reason.contains("more than 64 characters"), "{}", set.refused[0].reason);
}

#[test]
fn the_linter_finds_what_model_apis_refuse() {
    let object = |properties: Value| json!({"type": "object", "properties": properties});
    let cases = [
        (json!({"anyOf": [{"type": "object"}]}), "is not a plain object at its root"),
        (object(json!({"a": {"type": ["string", "null"]}})), "has a `type` that is not one string"),
        (object(json!({"a": {"type": "array"}})), "has an array without `items`"),
        (
            object(json!({"a": {"type": "array", "items": false}})),
            "has a schema that is not an object",
        ),
        (object(json!({"a": {"const": 1}})), "uses `const`"),
        (object(json!({"a": {"oneOf": []}})), "uses `oneOf`"),
        (object(json!({"a b": {}})), "has the property name `a b`"),
        (object(json!({"a": {"enum": []}})), "has an `enum` of something else"),
        (object(json!({"a": {"$ref": "#/$defs/x"}})), "which is not there"),
        (
            object(json!({"a": {"$ref": "#/$defs/x", "description": "y"}})),
            "has something beside a `$ref`",
        ),
    ];
    for (schema, finding) in cases {
        let found = lint::schema(&schema).join("\n");
        assert!(found.contains(finding), "{schema}: {found}");
    }
    let many = (0..1_001).map(|i| format!("v{i}")).collect::<Vec<_>>();
    let found = lint::schema(&object(json!({"a": {"type": "string", "enum": many}})));
    assert_eq!(found, ["has 1001 enum values, and some model APIs accept 1000"]);
}

#[test]
fn tools_that_may_ask_their_client_say_so() {
    let asks = |imports: &[&str], provider: &str| {
        let interface = Interface {
            imports: imports.iter().map(|&import| import.to_owned()).collect(),
            ..exports(&["f"])
        };
        let model = ModelBinding {
            provider: provider.to_owned(),
            name: "m".to_owned(),
            system: None,
            temperature: None,
            max_tokens: 1,
            max_loops: 1,
            tokens_per_call: 1,
            tokens_per_day: 1,
        };
        let settings = Settings { model: Some(model), ..Settings::default() };
        tools(&interface, &settings, &Published::new()).tools[0].converses
    };
    assert!(asks(&["aop:agent/elicit@0.1.0"], "openai") && asks(&["aop:agent/tools@0.2.0"], ""));
    assert!(asks(&["aop:agent/model@0.1.0"], "client") && !asks(&["aop:agent/model@0.1.0"], "x"));
    assert!(!asks(&["wasi:logging/logging@0.1.0-draft", "aop:agent/elicits@0.1.0"], "client"));
}

/// An interface of one function with a parameter per type, and settings that put them into headers.
fn repeating(kinds: Vec<TypeKind>, headers: &[(&str, &str)]) -> (Interface, Settings) {
    let mut f = function("f");
    let parameter = |index: usize| Field {
        name: format!("par-{index}"),
        docs: Some(format!("Number {index}.")),
        ty: TypeId(u32::try_from(index).unwrap()),
    };
    f.parameters = (0..kinds.len()).map(parameter).collect();
    let interface = Interface { types: table(kinds), functions: vec![f], ..Interface::default() };
    let headers = headers.iter().map(|(key, name)| ((*key).to_owned(), (*name).to_owned()));
    let said = ToolSettings { headers: headers.collect(), ..ToolSettings::default() };
    (interface, Settings { tools: [("f".to_owned(), said)].into(), ..Settings::default() })
}

#[test]
fn a_parameter_that_a_header_repeats_says_so_beside_its_type() {
    let label = |name: &str| Label { name: name.to_owned(), docs: None };
    let colours = TypeKind::Enum(vec![label("red"), label("green")]);
    let many = TypeKind::Enum((0..1_100).map(|n| label(&format!("label-{n}"))).collect());
    for last in [TypeKind::Bool, many] {
        let kinds = vec![TypeKind::String, colours.clone(), TypeKind::U32, last];
        let (interface, settings) = repeating(kinds, &[("par-0", "Region"), ("par_1", "Colour")]);
        let set = tools(&interface, &settings, &Published::new());
        let schema: Value = serde_json::from_str(set.tools[0].input_schema.get()).unwrap();
        let properties = &schema["properties"];
        assert_eq!(
            properties["par_0"],
            json!({ "type": "string", "description": "Number 0.", "x-mcp-header": "Region" })
        );
        assert_eq!(
            properties["par_1"],
            json!({
                "type": "string",
                "enum": ["red", "green"],
                "description": "Number 1.",
                "x-mcp-header": "Colour",
            })
        );
        assert!(properties["par_2"].get("x-mcp-header").is_none());
        let headers: Vec<_> = set.tools[0]
            .headers
            .iter()
            .map(|repeated| (repeated.parameter.as_str(), repeated.header.as_str()))
            .collect();
        assert_eq!(headers, [("par_0", "Region"), ("par_1", "Colour")]);
    }
}

#[test]
fn a_header_that_no_client_could_send_is_a_mistake() {
    let wrong = |kind: TypeKind, headers: &[(&str, &str)]| {
        let kinds = vec![TypeKind::String, TypeKind::String, kind];
        let (interface, settings) = repeating(kinds, headers);
        mistakes(&interface, &settings, &Published::new())
    };
    let expect = |kind: TypeKind, headers: &[(&str, &str)], says: &str| {
        let found = wrong(kind, headers);
        assert!(found.len() == 1 && found[0].contains(says), "{found:?}");
    };
    expect(TypeKind::Bool, &[("par-9", "X")], "has no parameter `par-9`");
    for kind in [
        TypeKind::U64,
        TypeKind::S64,
        TypeKind::F32,
        TypeKind::F64,
        TypeKind::Option(TypeId(0)),
        TypeKind::List(TypeId(0)),
        TypeKind::Record(Vec::new()),
    ] {
        expect(kind, &[("par-2", "X")], "a header cannot repeat `par-2`");
    }
    expect(TypeKind::Bool, &[("par-0", "A"), ("par-1", "a")], "have the same header `a`");
    expect(TypeKind::Bool, &[("par-0", "A"), ("par_0", "B")], "are the same parameter");
}
