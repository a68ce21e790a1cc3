use aop_core::interface::{Case, Field, TypeId, TypeKind};
use aop_core::schema::lint;
use aop_core::{Envelope, ErrorCode, Shown};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::made::{LIMIT, Table, Ty, codec, identity, json_of, name, schemas};
use super::*;

/// The values of arguments without handles.
fn decode(codec: &FunctionCodec, arguments: &str) -> Result<Vec<Val>, Vec<Violation>> {
    codec.decode(arguments).map(|decoded| decoded.values)
}

fn plain() -> impl Strategy<Value = TypeKind> {
    use TypeKind as K;
    proptest::sample::select(vec![
        K::Bool,
        K::U8,
        K::U16,
        K::U32,
        K::U64,
        K::S8,
        K::S16,
        K::S32,
        K::S64,
        K::F32,
        K::F64,
        K::Char,
        K::String,
    ])
}

fn key() -> impl Strategy<Value = TypeKind> {
    use TypeKind as K;
    proptest::sample::select(vec![K::Bool, K::U8, K::S64, K::U64, K::Char, K::String, K::String])
}

fn ty() -> impl Strategy<Value = Ty> {
    let leaf = prop_oneof![
        6 => plain().prop_map(Ty::Plain),
        1 => Just(Ty::List(Box::new(Ty::Plain(TypeKind::U8)))),
        1 => (1..12_usize).prop_map(Ty::Enum),
        1 => (1..40_usize).prop_map(Ty::Flags),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        let maybe = proptest::option::of(inner.clone());
        let maybe_boxed = proptest::option::of(boxed.clone());
        prop_oneof![
            2 => boxed.clone().prop_map(Ty::List),
            1 => (boxed.clone(), 1..4_u32).prop_map(|(of, length)| Ty::FixedList(of, length)),
            2 => (key(), boxed.clone()).prop_map(|(key, value)| Ty::Map(key, value)),
            2 => vec(inner.clone(), 1..4).prop_map(Ty::Tuple),
            1 => (boxed.clone(), 1..6_u32).prop_map(|(of, times)| Ty::Doubled(of, times)),
            3 => boxed.prop_map(Ty::Option),
            2 => (maybe_boxed.clone(), maybe_boxed).prop_map(|(ok, err)| Ty::Result(ok, err)),
            3 => vec(inner, 1..9).prop_map(Ty::Record),
            2 => vec(maybe, 1..9).prop_map(Ty::Variant),
        ]
    })
}

fn plain_value(kind: &TypeKind) -> BoxedStrategy<Val> {
    use TypeKind as K;
    let extreme_u64 = prop_oneof![Just(u64::MAX), Just(1 << 53), Just((1 << 53) - 1), Just(0)];
    let extreme_s64 = prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(-(1 << 53)), Just(1 << 53)];
    match kind {
        K::Bool => any::<bool>().prop_map(Val::Bool).boxed(),
        K::U8 => any::<u8>().prop_map(Val::U8).boxed(),
        K::U16 => any::<u16>().prop_map(Val::U16).boxed(),
        K::U32 => any::<u32>().prop_map(Val::U32).boxed(),
        K::S8 => any::<i8>().prop_map(Val::S8).boxed(),
        K::S16 => any::<i16>().prop_map(Val::S16).boxed(),
        K::S32 => any::<i32>().prop_map(Val::S32).boxed(),
        K::U64 => prop_oneof![any::<u64>(), extreme_u64].prop_map(Val::U64).boxed(),
        K::S64 => prop_oneof![any::<i64>(), extreme_s64].prop_map(Val::S64).boxed(),
        K::F32 => proptest::num::f32::ANY.prop_map(Val::Float32).boxed(),
        K::F64 => proptest::num::f64::ANY.prop_map(Val::Float64).boxed(),
        K::Char => any::<char>().prop_map(Val::Char).boxed(),
        K::String => any::<String>().prop_map(Val::String).boxed(),
        other => panic!("{other:?} is not plain"),
    }
}

fn map_value(key: &TypeKind, value: &Ty) -> BoxedStrategy<Val> {
    use TypeKind as K;
    // A map's keys have no order in `Val`, so they are made from ones that have.
    fn of<K: Ord + std::fmt::Debug + Clone + 'static>(
        key: impl Strategy<Value = K> + 'static,
        wrap: fn(K) -> Val,
        value: BoxedStrategy<Val>,
    ) -> BoxedStrategy<Val> {
        let pairs = btree_map(key, value, 0..4);
        pairs
            .prop_map(move |map| Val::Map(map.into_iter().map(|(k, v)| (wrap(k), v)).collect()))
            .boxed()
    }
    let value = value_of(value);
    match key {
        K::Bool => of(any::<bool>(), Val::Bool, value),
        K::U8 => of(any::<u8>(), Val::U8, value),
        K::U64 => of(any::<u64>(), Val::U64, value),
        K::S64 => of(any::<i64>(), Val::S64, value),
        K::Char => of(any::<char>(), Val::Char, value),
        K::String => of(any::<String>(), Val::String, value),
        other => panic!("{other:?} is no key"),
    }
}

fn value_of(ty: &Ty) -> BoxedStrategy<Val> {
    fn all(types: impl Iterator<Item = Ty>) -> Vec<BoxedStrategy<Val>> {
        types.map(|ty| value_of(&ty)).collect()
    }
    fn payload(ty: Option<&Ty>) -> BoxedStrategy<Option<Box<Val>>> {
        match ty {
            Some(ty) => value_of(ty).prop_map(|value| Some(Box::new(value))).boxed(),
            None => Just(None).boxed(),
        }
    }
    match ty {
        Ty::Plain(kind) => plain_value(kind),
        Ty::List(of) => vec(value_of(of), 0..4).prop_map(Val::List).boxed(),
        Ty::FixedList(of, n) => {
            vec(value_of(of), *n as usize).prop_map(Val::FixedLengthList).boxed()
        }
        Ty::Map(key, value) => map_value(key, value),
        Ty::Tuple(types) => all(types.iter().cloned()).prop_map(Val::Tuple).boxed(),
        Ty::Doubled(of, times) => (0..*times).fold(value_of(of), |half, _| {
            half.prop_map(|half| Val::Tuple(vec![half.clone(), half])).boxed()
        }),
        Ty::Option(of) => {
            proptest::option::of(value_of(of)).prop_map(|v| Val::Option(v.map(Box::new))).boxed()
        }
        Ty::Result(ok, err) => prop_oneof![
            payload(ok.as_deref()).prop_map(|value| Val::Result(Ok(value))),
            payload(err.as_deref()).prop_map(|value| Val::Result(Err(value))),
        ]
        .boxed(),
        Ty::Record(fields) => all(fields.iter().cloned())
            .prop_map(|values| {
                Val::Record(values.into_iter().enumerate().map(|(i, v)| (name(i), v)).collect())
            })
            .boxed(),
        Ty::Variant(cases) => {
            let cases = cases.iter().enumerate();
            let cases = cases.map(|(i, ty)| {
                payload(ty.as_ref()).prop_map(move |v| Val::Variant(name(i), v)).boxed()
            });
            proptest::strategy::Union::new(cases).boxed()
        }
        Ty::Enum(count) => (0..*count).prop_map(|i| Val::Enum(name(i))).boxed(),
        Ty::Flags(count) => vec(any::<bool>(), *count)
            .prop_map(|set| {
                let set = set.into_iter().enumerate().filter(|(_, is_set)| *is_set);
                Val::Flags(set.map(|(i, _)| name(i)).collect())
            })
            .boxed(),
    }
}

fn typed_value() -> impl Strategy<Value = (Ty, Val)> {
    ty().prop_flat_map(|ty| {
        let value = value_of(&ty);
        (Just(ty), value)
    })
}

/// What may stand anywhere in a mutated input.
fn intruder() -> impl Strategy<Value = Value> {
    proptest::sample::select(vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(5.0),
        json!(300),
        json!(70_000),
        json!(5_000_000_000_u64),
        json!(-1e300),
        json!(1e39),
        json!("x"),
        json!(""),
        json!("NaN"),
        json!("17"),
        json!("017"),
        json!([]),
        json!([null]),
        json!([1, 2, 3]),
        json!({}),
        json!({"tag": "a"}),
        json!({"tag": "a", "val": 1}),
        json!({"tag": "ok"}),
        json!({"some": null}),
        json!({"x/~": 1}),
    ])
}

/// Every place in a JSON value, as pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(entries) => {
            for (key, item) in entries {
                places(item, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        _ => {}
    }
}

fn parent(pointer: &str) -> &str {
    pointer.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// Changes one place of an input; answers which.
fn mutate(input: &mut Value, place: usize, how: u8, intruder: Value) -> String {
    let mut found = Vec::new();
    places(input, "", &mut found);
    let at = found[place % found.len()].clone();
    match input.pointer_mut(&at).unwrap() {
        Value::Object(entries) if how == 0 => {
            entries.insert("intruder".to_owned(), intruder);
            format!("{at}/intruder")
        }
        Value::Object(entries) if how == 1 && !entries.is_empty() => {
            let key = entries.keys().nth(place % entries.len()).unwrap().clone();
            entries.remove(&key);
            format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"))
        }
        Value::Array(items) if how == 0 => {
            items.push(intruder);
            format!("{at}/{}", items.len() - 1)
        }
        Value::Array(items) if how == 1 => {
            items.pop();
            format!("{at}/{}", items.len())
        }
        other => {
            *other = intruder;
            at
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(192) })]

    #[test]
    fn every_value_round_trips_and_fits_its_schemas((ty, value) in typed_value()) {
        let codec = identity(&ty);
        let json = json_of(&ty, &value);
        let decoded = decode(&codec, &format!("{{\"value\":{json}}}"));
        prop_assert_eq!(decoded, Ok(vec![value.clone()]), "{}", json);

        let (input, output) = schemas(&codec);
        let arguments = json!({ "value": serde_json::from_str::<Value>(&json).unwrap() });
        prop_assert!(jsonschema::validator_for(&input).unwrap().is_valid(&arguments), "{} {}", input, arguments);

        let result = codec.encode(&[value], LIMIT);
        let envelope = serde_json::to_value(Envelope::new(&result)).unwrap();
        prop_assert!(jsonschema::validator_for(&output).unwrap().is_valid(&envelope), "{} {}", output, envelope);
    }

    #[test]
    fn schemas_are_valid_and_in_the_common_subset(ty in ty()) {
        let (input, output) = schemas(&identity(&ty));
        for schema in [input, output] {
            prop_assert!(jsonschema::draft202012::meta::is_valid(&schema), "{}", schema);
            prop_assert_eq!(lint::schema(&schema), Vec::<String>::new(), "{}", schema);
        }
    }

    #[test]
    fn the_codec_takes_what_the_schema_takes_and_says_where_it_does_not(
        (ty, value) in typed_value(),
        place in any::<usize>(),
        how in 0..4_u8,
        intruder in intruder(),
    ) {
        let codec = identity(&ty);
        let (schema, _) = schemas(&codec);
        let json = json_of(&ty, &value);
        let mut input = json!({ "value": serde_json::from_str::<Value>(&json).unwrap() });
        let at = mutate(&mut input, place, how, intruder);
        let is_valid = jsonschema::validator_for(&schema).unwrap().is_valid(&input);
        match decode(&codec, &input.to_string()) {
            Ok(_) => prop_assert!(is_valid, "{} {}", schema, input),
            // What JSON Schema cannot say: the alphabet of base64, and bounds beyond 2^53.
            Err(violations) if is_valid => for violation in violations {
                let beyond = ["base64", "decimal string"].iter().any(|word| violation.message.contains(word));
                prop_assert!(beyond, "{:?} {} {}", violation, schema, input);
            },
            Err(violations) => {
                let near = violations.iter().any(|v| v.pointer.starts_with(parent(&at)) || at.starts_with(&v.pointer));
                prop_assert!(near, "{} {:?} {}", at, violations, input);
            }
        }
    }

    #[test]
    fn no_text_panics(ty in ty(), text in any::<String>(), place in any::<usize>()) {
        let codec = identity(&ty);
        let _ = decode(&codec, &text);
        let cut = format!("{{\"value\":{text:?}");
        let end = (0..=place % (cut.len() + 1)).rev().find(|end| cut.is_char_boundary(*end)).unwrap();
        prop_assert!(decode(&codec, &cut[..end]).is_err());
    }
}

fn violations(codec: &FunctionCodec, text: &str) -> Vec<(String, String)> {
    let violations = decode(codec, text).unwrap_err();
    violations.into_iter().map(|v| (v.pointer, v.message)).collect()
}

fn one(pointer: &str, message: &str) -> Vec<(String, String)> {
    vec![(pointer.to_owned(), message.to_owned())]
}

fn of(kind: TypeKind) -> FunctionCodec {
    identity(&Ty::Plain(kind))
}

#[test]
fn integers_are_exact() {
    let value = |codec: &FunctionCodec, text: &str| decode(codec, &format!("{{\"value\":{text}}}"));
    assert_eq!(value(&of(TypeKind::U8), "5.0"), Ok(vec![Val::U8(5)]));
    assert_eq!(value(&of(TypeKind::U8), "1e2"), Ok(vec![Val::U8(100)]));
    for text in ["5.5", "256", "-1", "\"5\"", "1e300"] {
        let found = value(&of(TypeKind::U8), text).unwrap_err();
        assert_eq!(found[0].pointer, "/value", "{text}");
        assert!(found[0].message.starts_with("expected an integer from 0 to 255, found"), "{text}");
    }
    let wide = of(TypeKind::U64);
    for text in ["18446744073709551615", "\"18446744073709551615\""] {
        assert_eq!(value(&wide, text), Ok(vec![Val::U64(u64::MAX)]), "{text}");
    }
    for text in [
        "18446744073709551616",
        "\"18446744073709551616\"",
        "9007199254740993.0",
        "\"01\"",
        "\"+1\"",
    ] {
        assert!(value(&wide, text).is_err(), "{text}");
    }
    assert_eq!(
        wide.encode(&[Val::U64((1 << 53) - 1)], LIMIT).unwrap().json.get(),
        "9007199254740991"
    );
    assert_eq!(
        wide.encode(&[Val::U64(1 << 53)], LIMIT).unwrap().json.get(),
        "\"9007199254740992\""
    );
}

#[test]
fn nested_options_do_not_collapse() {
    let twice = Ty::Option(Box::new(Ty::Option(Box::new(Ty::Plain(TypeKind::U8)))));
    let codec = identity(&twice);
    let some = |inner| Val::Option(Some(Box::new(inner)));
    let cases = [
        ("null", Val::Option(None)),
        (r#"{"some":null}"#, some(Val::Option(None))),
        (r#"{"some":7}"#, some(some(Val::U8(7)))),
    ];
    for (text, value) in cases {
        assert_eq!(decode(&codec, &format!("{{\"value\":{text}}}")), Ok(vec![value.clone()]));
        assert_eq!(codec.encode(&[value], LIMIT).unwrap().json.get(), text);
    }
    assert_eq!(decode(&codec, "{}"), Ok(vec![Val::Option(None)]));
    assert!(decode(&codec, r#"{"value":7}"#).is_err());
}

#[test]
fn every_violation_is_reported_with_its_pointer() {
    let codec = identity(&Ty::Record(vec![
        Ty::Plain(TypeKind::U8),
        Ty::List(Box::new(Ty::Plain(TypeKind::Bool))),
        Ty::Variant(vec![None, Some(Ty::Plain(TypeKind::Char))]),
    ]));
    let found = violations(
        &codec,
        r#"{"value":{"a":"x","not_fuond":[],"get_URL":{"val":"xy","tag":"not_found"},"a":1},"x/y":1}"#,
    );
    let pointers: Vec<_> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
    assert_eq!(
        pointers,
        [
            "/value/a",
            "/value/not_fuond",
            "/value/get_URL/val",
            "/value/a",
            "/value/not_found",
            "/x~1y"
        ]
    );
    assert_eq!(found[1].1, "unknown property `not_fuond`; did you mean `not_found`?");
    assert_eq!(found[3].1, "given twice");
    assert_eq!(found[4].1, "required, and missing: expected an array");
    assert_eq!(
        violations(&codec, "{}"),
        one("/value", "required, and missing: expected an object")
    );
}

#[test]
fn variants_take_their_members_in_any_order() {
    let codec =
        identity(&Ty::Variant(vec![None, Some(Ty::Option(Box::new(Ty::Plain(TypeKind::U8))))]));
    let seven =
        Val::Variant("not-found".into(), Some(Box::new(Val::Option(Some(Box::new(Val::U8(7)))))));
    for text in [r#"{"tag":"not_found","val":7}"#, r#"{"val":7,"tag":"not_found"}"#] {
        assert_eq!(decode(&codec, &format!("{{\"value\":{text}}}")), Ok(vec![seven.clone()]));
    }
    let refused = [
        (r#"{"tag":"a","val":null}"#, "/value/val"),
        (r#"{"tag":"not_found"}"#, "/value/val"),
        (r#"{"tag":"none"}"#, "/value/tag"),
        (r#"{"val":1}"#, "/value/tag"),
        (r#"{"tag":"a","tag":"a"}"#, "/value/tag"),
        (r#"{"tag":"a","more":1}"#, "/value/more"),
        (r#""a""#, "/value"),
    ];
    for (text, pointer) in refused {
        assert_eq!(violations(&codec, &format!("{{\"value\":{text}}}"))[0].0, pointer, "{text}");
    }
}

#[test]
fn bytes_are_base64() {
    let codec = identity(&Ty::List(Box::new(Ty::Plain(TypeKind::U8))));
    let bytes = Val::List([1, 2, 3, 255].map(Val::U8).to_vec());
    assert_eq!(
        codec.encode(std::slice::from_ref(&bytes), LIMIT).unwrap().json.get(),
        "\"AQID/w==\""
    );
    for text in ["AQID/w==", "AQID/w"] {
        assert_eq!(decode(&codec, &format!("{{\"value\":\"{text}\"}}")), Ok(vec![bytes.clone()]));
    }
    let found = violations(&codec, r#"{"value":"!"}"#);
    assert_eq!(found, one("/value", "expected a base64 string, found the string \"!\""));
    let long = Val::List(vec![Val::U8(9); 10_000]);
    let json = codec.encode(std::slice::from_ref(&long), LIMIT).unwrap().json;
    assert_eq!(decode(&codec, &format!("{{\"value\":{json}}}")), Ok(vec![long]));
}

#[test]
fn what_is_no_object_of_parameters_is_one_violation() {
    let codec = of(TypeKind::U8);
    for text in ["", "{", "[]", "null", "7", "{\"value\":1} x", "{\"value\":1,}", "{\"value\":NaN}"]
    {
        let found = violations(&codec, text);
        assert_eq!((found.len(), found[0].0.as_str()), (1, ""), "{text}");
        assert!(found[0].1.starts_with("the arguments are not"), "{}", found[0].1);
    }
}

#[test]
fn depth_and_number_of_violations_are_bounded() {
    let codec = identity(&Ty::List(Box::new(Ty::Plain(TypeKind::U8))));
    let deep = format!("{{\"value\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(decode(&codec, &deep).is_err());
    let codec = identity(&Ty::List(Box::new(Ty::Plain(TypeKind::Bool))));
    let many = format!("{{\"value\":[{}1]}}", "1,".repeat(10_000));
    assert_eq!(violations(&codec, &many).len(), decode::VIOLATIONS_MAX);
}

#[test]
fn values_that_take_too_much_memory_are_refused() {
    // Three bytes of JSON make a record of a hundred absent options.
    let wide =
        Ty::Record((0..100).map(|_| Ty::Option(Box::new(Ty::Plain(TypeKind::Bool)))).collect());
    let codec = identity(&Ty::List(Box::new(wide)));
    let text = format!("{{\"value\":[{}{{}}]}}", "{},".repeat(100_000));
    let found = violations(&codec, &text);
    assert!(found[0].1.contains("more than 128 MiB of memory"), "{found:?}");
    assert!(found[0].0.starts_with("/value/"));
}

#[test]
fn output_beyond_its_limit_is_the_guests_fault() {
    let codec = of(TypeKind::String);
    let text = |length: usize| [Val::String("x".repeat(length))];
    assert!(codec.encode(&text(98), 100).is_ok());
    assert_eq!(codec.encode(&text(99), 100).unwrap_err().code, ErrorCode::GuestLimit);
    let escapes = [Val::String("\u{1}".repeat(50))];
    assert_eq!(codec.encode(&escapes, 100).unwrap_err().code, ErrorCode::GuestLimit);
    let list = identity(&Ty::List(Box::new(Ty::Plain(TypeKind::Bool))));
    let values = [Val::List(vec![Val::Bool(true); 100])];
    assert_eq!(list.encode(&values, 100).unwrap_err().code, ErrorCode::GuestLimit);
    assert_eq!(list.encode(&[Val::U8(1)], 100).unwrap_err().code, ErrorCode::BadOutput);
}

/// A function that returns `result<ok, err>`.
#[test]
fn what_is_large_is_not_encoded_at_once_and_says_the_same_later() {
    let codec = of(TypeKind::String);
    let at_once =
        |length: usize, limit| codec.encode_at_once(&[Val::String("x".repeat(length))], limit);
    let most = AT_ONCE_MAX_BYTES - 2;
    assert_eq!(at_once(most, 1 << 20).unwrap().unwrap().json.get().len(), AT_ONCE_MAX_BYTES);
    assert!(at_once(most + 1, 1 << 20).is_none());
    let refused = at_once(most + 1, AT_ONCE_MAX_BYTES).unwrap().unwrap_err();
    assert_eq!(refused.code, ErrorCode::GuestLimit, "its own limit is no reason to try again");
    // An error that an agent answers is encoded as well, and may be as large.
    let codec = fallible(None, Some(Ty::Plain(TypeKind::String)));
    let large = err(Some(Val::String("x".repeat(most + 3))));
    assert!(codec.encode_at_once(&large, 1 << 20).is_none());
    let answered = codec.encode(&large, 1 << 20).unwrap_err();
    assert_eq!((answered.code, answered.message.len()), (ErrorCode::GuestError, most + 3));
}

fn fallible(ok: Option<Ty>, err: Option<Ty>) -> FunctionCodec {
    identity(&Ty::Result(ok.map(Box::new), err.map(Box::new)))
}

fn err(value: Option<Val>) -> [Val; 1] {
    [Val::Result(Err(value.map(Box::new)))]
}

#[test]
fn results_become_outcomes() {
    let codec = fallible(Some(Ty::Plain(TypeKind::String)), Some(Ty::Plain(TypeKind::String)));
    let output = codec
        .encode(&[Val::Result(Ok(Some(Box::new(Val::String("hi \"you\"".into())))))], LIMIT)
        .unwrap();
    assert_eq!((output.json.get(), output.shown), (r#""hi \"you\"""#, Shown::Text));
    let failure = codec.encode(&err(Some(Val::String("no such city".into()))), LIMIT).unwrap_err();
    assert_eq!((failure.code, failure.message.as_str()), (ErrorCode::GuestError, "no such city"));
    assert!(failure.details.is_none() && failure.executed);

    let bare = fallible(None, None);
    assert_eq!(bare.encode(&[Val::Result(Ok(None))], LIMIT).unwrap().json.get(), "null");
    assert_eq!(bare.encode(&err(None), LIMIT).unwrap_err().code, ErrorCode::GuestError);

    let typed = fallible(None, Some(Ty::Variant(vec![None, Some(Ty::Plain(TypeKind::String))])));
    let payload = Some(Box::new(Val::String("Atlantis".into())));
    let failure =
        typed.encode(&err(Some(Val::Variant("not-found".into(), payload))), LIMIT).unwrap_err();
    assert_eq!(failure.message, "not_found: Atlantis");
    assert_eq!(failure.details.unwrap().get(), r#"{"tag":"not_found","val":"Atlantis"}"#);

    let numeric = fallible(None, Some(Ty::Plain(TypeKind::U8)));
    assert_eq!(numeric.encode(&err(Some(Val::U8(7))), LIMIT).unwrap_err().message, "7");
    let (_, output) = schemas(&typed);
    let envelope =
        json!({"success": false, "error": "x", "code": "guest_error", "details": {"tag": "a"}});
    assert!(jsonschema::validator_for(&output).unwrap().is_valid(&envelope));
}

/// The type `aop:agent/content.block`, as far as it is told by its structure.
fn block(table: &mut Table) -> TypeId {
    let text = table.push(TypeKind::String);
    let byte = table.push(TypeKind::U8);
    let bytes = table.push(TypeKind::List(byte));
    let mut record = |first: &str, ty| {
        let field = Field { name: first.to_owned(), docs: None, ty };
        table.push(TypeKind::Record(vec![field]))
    };
    let cases = [
        ("text", record("text", text)),
        ("image", record("data", bytes)),
        ("audio", record("data", bytes)),
        ("link", record("uri", text)),
        ("embedded", record("uri", text)),
    ];
    let case = |(name, ty): (&str, _)| Case { name: name.to_owned(), docs: None, ty: Some(ty) };
    table.push(TypeKind::Variant(cases.map(case).into()))
}

#[test]
fn content_blocks_are_shown_as_what_they_are() {
    let said = |text: &str| {
        let record = vec![("text".to_owned(), Val::String(text.into()))];
        Val::Variant("text".to_owned(), Some(Box::new(Val::Record(record))))
    };
    let mut table = Table(Vec::new());
    let one = block(&mut table);
    let output = codec(table, vec![], Some(one)).encode(&[said("hi")], LIMIT).unwrap();
    let expected = r#"{"tag":"text","val":{"text":"hi"}}"#;
    assert_eq!((output.json.get(), output.shown), (expected, Shown::Content));

    let mut table = Table(Vec::new());
    let block = block(&mut table);
    let list = table.push(TypeKind::List(block));
    let text = table.push(TypeKind::String);
    let result = table.push(TypeKind::Result { ok: Some(list), err: Some(text) });
    let codec = codec(table, vec![], Some(result));
    let image = vec![("data".to_owned(), Val::List(vec![Val::U8(0), Val::U8(255)]))];
    let image = Val::Variant("image".to_owned(), Some(Box::new(Val::Record(image))));
    let blocks = Val::List(vec![said("a"), image]);
    let output = codec.encode(&[Val::Result(Ok(Some(Box::new(blocks))))], LIMIT).unwrap();
    let expected = r#"[{"tag":"text","val":{"text":"a"}},{"tag":"image","val":{"data":"AP8="}}]"#;
    assert_eq!((output.json.get(), output.shown), (expected, Shown::Content));
    let failure = codec.encode(&err(Some(Val::String("no".into()))), LIMIT).unwrap_err();
    assert_eq!((failure.code, failure.message.as_str()), (ErrorCode::GuestError, "no"));
}

#[test]
fn a_function_without_a_result_gives_null() {
    let codec = codec(Table(Vec::new()), vec![], None);
    assert_eq!(decode(&codec, "{}"), Ok(vec![]));
    assert_eq!(codec.encode(&[], LIMIT).unwrap().json.get(), "null");
    assert_eq!(violations(&codec, r#"{"x":1}"#), one("/x", "unknown property `x`: there are none"));
}

#[test]
fn streams_are_arrays_that_grow() {
    let mut table = Table(Vec::new());
    let text = table.push(TypeKind::String);
    let stream = table.push(TypeKind::Stream(text));
    let codec = codec(table, vec![], Some(stream));
    let mut encoder = codec.stream(12).unwrap();
    assert_eq!(encoder.push(&Val::String("one".into())).unwrap(), "\"one\"");
    assert_eq!(encoder.push(&Val::String("2".into())).unwrap(), "\"2\"");
    assert_eq!(encoder.finish().unwrap().json.get(), r#"["one","2"]"#);
    let mut encoder = codec.stream(12).unwrap();
    assert!(encoder.push(&Val::String("far too long".into())).is_err());
    assert_eq!(codec.stream(12).unwrap().finish().unwrap().json.get(), "[]");
    assert!(of(TypeKind::U8).stream(12).is_none());
}

#[test]
fn a_repeated_key_of_a_guests_map_counts_once() {
    let codec = identity(&Ty::Map(TypeKind::String, Box::new(Ty::Plain(TypeKind::U8))));
    let pair = |value| (Val::String("a".into()), Val::U8(value));
    let output = codec.encode(&[Val::Map(vec![pair(1), pair(2)])], LIMIT).unwrap();
    assert_eq!(output.json.get(), r#"{"a":2}"#);
    assert_eq!(violations(&codec, r#"{"value":{"a":1,"a":2}}"#), one("/value/a", "given twice"));
}
