//! One identity function for every row of the type table in the WIT mapping. It carries its WIT, so
//! tests of descriptions use it too.

wit_bindgen::generate!({ path: "wit/types.wit" });
aop_agent::embed_wit!("wit/types.wit");

use exports::fixture::types::identity::{
    Colour, Guest, Identifier, Keywords, Permissions, Person, Point, Shape,
};
use wit_bindgen::rt::Map;

struct Types;

macro_rules! identity {
    ($($function:ident: $type:ty),* $(,)?) => {
        $(fn $function(value: $type) -> $type {
            value
        })*
    };
}

impl Guest for Types {
    identity! {
        identity_bool: bool,
        identity_u8: u8,
        identity_u16: u16,
        identity_u32: u32,
        identity_u64: u64,
        identity_s8: i8,
        identity_s16: i16,
        identity_s32: i32,
        identity_s64: i64,
        identity_f32: f32,
        identity_f64: f64,
        identity_char: char,
        identity_string: String,
        identity_bytes: Vec<u8>,
        identity_strings: Vec<String>,
        identity_nested_list: Vec<Vec<i32>>,
        identity_tuple: (String, u32, bool),
        identity_fixed_list: [u32; 3],
        identity_option: Option<String>,
        identity_nested_option: Option<Option<u32>>,
        identity_record: Person,
        identity_keywords: Keywords,
        identity_enum: Colour,
        identity_flags: Permissions,
        identity_variant: Shape,
        identity_alias: Identifier,
        identity_result: Vec<Result<u32, String>>,
        identity_empty_result: Vec<Result<(), ()>>,
        identity_string_map: Map<String, u32>,
        identity_number_map: Map<u32, Point>,
    }

    fn nothing() {}

    fn concat(first: String, second: Option<String>, repeat_count: Option<u32>) -> String {
        let once = first + &second.unwrap_or_default();
        once.repeat(repeat_count.unwrap_or(1) as usize)
    }

    fn swap((one, other): (Point, Point)) -> (Point, Point) {
        (other, one)
    }
}

export!(Types);
