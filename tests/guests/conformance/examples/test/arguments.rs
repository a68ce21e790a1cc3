//! Tools whose arguments matter.

use crate::exports::conformance::test::arguments::{Address, Contact, Guest};

impl Guest for crate::Test {
    fn json_schema(
        name: Option<String>,
        address: Option<Address>,
        contact_method: Option<Contact>,
        phone: Option<String>,
        email: Option<String>,
    ) -> String {
        let contact = match contact_method {
            Some(Contact::Phone) => phone,
            Some(Contact::Email) => email,
            None => phone.or(email),
        };
        let place = address.and_then(|address| address.city.or(address.street));
        let parts = [name, place, contact].into_iter().flatten();
        parts.collect::<Vec<_>>().join(", ")
    }

    fn custom_headers(region: String, query: String) -> String {
        format!("{region}: {query}")
    }
}
