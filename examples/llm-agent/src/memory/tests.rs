use aop_agent::testing::Script;

use super::*;

#[test]
fn nothing_is_remembered_unless_the_settings_say_so() {
    for host in [Script::new(), Script::new().config("memory", "0")] {
        host.run(|| {
            let mut memory = Memory::open().unwrap();
            memory.keep("task", "answer").unwrap();
            assert_eq!(memory.recall(Request::new()).messages, []);
            assert_eq!(Bucket::session().unwrap().keys().unwrap(), Vec::<String>::new());
        });
    }
}

#[test]
fn the_bound_is_checked() {
    for wrong in ["101", "-1", "ten"] {
        let host = Script::new().config("memory", wrong);
        assert!(host.run(|| Memory::open().map(|_| ()).unwrap_err().contains("100")).0);
    }
}
