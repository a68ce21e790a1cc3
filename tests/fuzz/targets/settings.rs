//! Settings of an agent: whatever is accepted can be stored, read back, and held against a ceiling.
#![no_main]

use aop_core::policy::Ceilings;
use aop_core::settings::Lines;
use aop_core::{Settings, TenantName};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let lines = Lines::in_text(text);
    match Settings::from_toml(text) {
        Ok(settings) => {
            let stored = serde_json::to_string(&settings).expect("settings can be stored");
            let read: Settings = serde_json::from_str(&stored).expect("and read back");
            assert_eq!(read, settings);
            let ceilings = Ceilings { host: Some(Default::default()), ..Ceilings::default() };
            for excess in ceilings.excesses(&TenantName::default_tenant(), &settings) {
                let written = excess.setting.contains('.').then(|| lines.of(&excess.setting));
                // Tokens have defaults that a silent ceiling does not limit; everything else was written.
                assert_ne!(written, Some(None), "{excess}");
            }
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            let count = text.lines().count() + 1;
            assert!(mistakes.iter().all(|mistake| mistake.line <= count), "{mistakes:?}");
        }
    }
});
