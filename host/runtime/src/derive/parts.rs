//! How many parts of a component may compute, or wait in a call of their own, at one time.
//!
//! Where functions are asynchronous, each component that is instantiated within one, and has code, may be in a call that
//! waits while the others go on, and every such call has a stack. That code never runs twice at one time in the same part is
//! the component model's own rule. So the parts are counted, from the bytes, without running anything.
//!
//! A function that is lifted is code even where there is no core module: what is lifted may be an import, lowered.

use wasmparser::{
    BinaryReaderError, CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentInstance,
    ComponentOuterAliasKind, ComponentTypeRef, Encoding, Instance, Parser, Payload,
};

/// Stands for what nobody can tell here: a component that comes in through an import or out of an instance.
const MANY: u32 = u32::MAX;

/// A component whose end was not read yet.
#[derive(Default)]
struct Open {
    /// The parts of every component in its index space.
    components: Vec<u32>,
    /// Of what it instantiates.
    parts: u32,
    has_code: bool,
}

impl Open {
    fn of(&self, index: u32) -> u32 {
        self.components.get(index as usize).copied().unwrap_or(MANY)
    }

    fn read(&mut self, payload: Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::InstanceSection(section) => {
                for instance in section {
                    self.has_code |= matches!(instance?, Instance::Instantiate { .. });
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    self.has_code |= matches!(function?, CanonicalFunction::Lift { .. });
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section {
                    if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                        self.parts = self.parts.saturating_add(self.of(component_index));
                    }
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    if matches!(import?.ty, ComponentTypeRef::Component(_)) {
                        self.components.push(MANY);
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    let export = export?;
                    if export.kind == ComponentExternalKind::Component {
                        self.components.push(self.of(export.index));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Counts them; as many as there can be where the bytes are no component.
pub(crate) fn count(component: &[u8]) -> u32 {
    read(component).unwrap_or(MANY)
}

fn read(component: &[u8]) -> Result<u32, BinaryReaderError> {
    // Core modules are none.
    let mut open: Vec<Option<Open>> = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::Version { encoding, .. } => {
                open.push((encoding == Encoding::Component).then(Open::default));
            }
            Payload::End(_) => {
                let Some(Some(done)) = open.pop() else { continue };
                let parts = done.parts.saturating_add(u32::from(done.has_code));
                match open.last_mut() {
                    Some(Some(around)) => around.components.push(parts),
                    _ => return Ok(parts),
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    let parts = match alias? {
                        ComponentAlias::InstanceExport {
                            kind: ComponentExternalKind::Component,
                            ..
                        } => MANY,
                        ComponentAlias::Outer {
                            kind: ComponentOuterAliasKind::Component,
                            count,
                            index,
                        } => {
                            let around = open.iter().rev().flatten().nth(count as usize);
                            around.map_or(MANY, |around| around.of(index))
                        }
                        _ => continue,
                    };
                    if let Some(Some(innermost)) = open.last_mut() {
                        innermost.components.push(parts);
                    }
                }
            }
            payload => {
                if let Some(Some(innermost)) = open.last_mut() {
                    innermost.read(payload)?;
                }
            }
        }
    }
    Ok(MANY)
}

#[cfg(test)]
mod tests {
    use super::{MANY, count};

    fn of(text: &str) -> u32 {
        count(&wat::parse_str(text).unwrap())
    }

    const CODE: &str = "(core module $m) (core instance (instantiate $m))";

    #[test]
    fn a_component_is_one_part_if_it_has_code() {
        assert_eq!(of("(component)"), 0);
        assert_eq!(of("(component (core module $m))"), 0);
        assert_eq!(of(&format!("(component {CODE} (core instance (instantiate $m)))")), 1);
        assert_eq!(count(b"no component"), MANY);
        assert_eq!(of("(module)"), MANY);
    }

    #[test]
    fn what_lifts_an_import_is_a_part_without_a_module_of_its_own() {
        let part = r#"(component $part
            (import "wait" (func $wait async (param "d" u64)))
            (core func $w (canon lower (func $wait)))
            (func (export "run") async (param "d" u64) (canon lift (core func $w))))"#;
        assert_eq!(of(part), 1);
        let made = r#"(instance (instantiate $part (with "wait" (func $wait))))"#.repeat(15);
        let wait = r#"(import "wait" (func $wait async (param "d" u64)))"#;
        assert_eq!(of(&format!("(component {wait} {part} {made})")), 15);
        let lowers = r#"(core func (canon lower (func $wait)))"#;
        assert_eq!(of(&format!("(component {wait} {lowers})")), 0, "nobody can call it");
    }

    #[test]
    fn every_instance_of_a_component_within_counts_with_those_in_it() {
        let leaf = format!("(component $leaf {CODE})");
        assert_eq!(of(&format!("(component {leaf})")), 0, "it is made nowhere");
        let two = format!("{leaf} (instance (instantiate $leaf)) (instance (instantiate $leaf))");
        assert_eq!(of(&format!("(component {two})")), 2);
        assert_eq!(of(&format!("(component {CODE} {two})")), 3);
        let pair = format!("(component $pair {two})");
        let four = format!("{pair} (instance (instantiate $pair)) (instance (instantiate $pair))");
        assert_eq!(of(&format!("(component {four})")), 4);
        let doubled = |inner: &str| {
            format!(
                "(component $c {inner} (instance (instantiate $c)) (instance (instantiate $c)))"
            )
        };
        let deep = (0..40).fold(format!("(component $c {CODE})"), |inner, _| doubled(&inner));
        assert_eq!(of(&deep), MANY, "two to the fortieth");
    }

    #[test]
    fn a_component_is_the_same_by_whichever_name() {
        let leaf = format!("(component $leaf {CODE})");
        let outer =
            "(component $b (alias outer 1 $leaf (component $l)) (instance (instantiate $l)))
                     (instance (instantiate $b))";
        assert_eq!(of(&format!("(component {leaf} {outer})")), 1);
        let exported = "(export $again \"leaf\" (component $leaf)) (instance (instantiate $again))";
        assert_eq!(of(&format!("(component {leaf} {exported})")), 1);
    }

    #[test]
    fn what_is_handed_in_could_be_anything() {
        let given =
            "(component $c (import \"c\" (component $given)) (instance (instantiate $given)))
                     (component $leaf) (instance (instantiate $c (with \"c\" (component $leaf))))";
        assert_eq!(of(&format!("(component {given})")), MANY);
        let taken = "(component $c (component $l) (export \"l\" (component $l)))
                     (instance $i (instantiate $c)) (alias export $i \"l\" (component $l))
                     (instance (instantiate $l))";
        assert_eq!(of(&format!("(component {taken})")), MANY);
    }
}
