//! One pass over the bytes: validates the component's types and collects its custom sections.
//!
//! Function bodies are not validated here; the compiler does that.

use aop_core::interface::Metadata;
use wasm_metadata::{ComponentNames, Producers};
use wasmparser::component_types::{ComponentEntityType, ComponentItem};
use wasmparser::types::Types;
use wasmparser::{
    CustomSectionReader, ExportSectionReader, KnownCustom, Parser, Payload, ValidPayload,
    Validator, WasmFeatures,
};

use super::DeriveError;
use super::limits::{
    DOCS_SECTIONS_MAX_BYTES, IDENTIFIER_MAX_BYTES, IMPORTS_MAX, INTERFACE_NAME_MAX_BYTES,
    METADATA_MAX_BYTES, PRODUCERS_MAX, cut,
};

/// What a component says of itself.
pub(super) struct Scan<'a> {
    /// Type information of the whole component.
    pub(super) types: Types,
    /// The names of the root's imports, in order.
    pub(super) imports: Vec<&'a str>,
    /// The names of the root's exports, in order.
    pub(super) exports: Vec<&'a str>,
    /// The `agent.wit` sections, at any depth.
    pub(super) wit: Vec<&'a str>,
    /// The `package-docs` sections, at any depth.
    pub(super) package_docs: Vec<&'a [u8]>,
    /// The tools that built it or a part of it, and the libraries that were linked into it. Language
    /// runtimes leave no trace in the producers sections, but their libraries do.
    pub(super) producers: Vec<String>,
    /// Its metadata, without the docs of its world.
    pub(super) metadata: Metadata,
}

impl<'a> Scan<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, DeriveError> {
        // The compiler is the judge of what may be used; here everything is understood.
        let mut validator = Validator::new_with_features(WasmFeatures::all());
        let mut found = Sections::default();
        let mut depth = 0_usize;
        let mut types = None;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.map_err(malformed)?;
            match validator.payload(&payload).map_err(malformed)? {
                ValidPayload::End(end) => {
                    depth = depth.saturating_sub(1);
                    types = Some(end);
                }
                ValidPayload::Parser(_) | ValidPayload::Ok | ValidPayload::Func(..) => {}
            }
            match payload {
                Payload::Version { .. } => depth += 1,
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section {
                        found.imports.push(import.map_err(malformed)?.name.name);
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section {
                        found.exports.push(export.map_err(malformed)?.name.name);
                    }
                }
                Payload::ExportSection(section) => found.libraries(section).map_err(malformed)?,
                Payload::CustomSection(section) => found.custom(&section, depth == 1),
                _ => {}
            }
        }
        let types = types.ok_or_else(|| DeriveError::Malformed("it has no end".to_owned()))?;
        Ok(Self {
            types,
            imports: found.imports,
            exports: found.exports,
            wit: found.wit,
            package_docs: found.package_docs,
            producers: found.producers,
            metadata: found.metadata,
        })
    }

    pub(super) fn import(&self, name: &str) -> Option<&ComponentItem> {
        self.types.component_item_for_import(name)
    }

    pub(super) fn export(&self, name: &str) -> Option<&ComponentItem> {
        self.types.component_item_for_export(name)
    }

    /// The interfaces and functions it needs, sorted.
    pub(super) fn needs(&self) -> Result<Vec<String>, DeriveError> {
        let is_needed = |name: &&&str| {
            self.import(name).is_some_and(|item| {
                matches!(item.ty, ComponentEntityType::Instance(_) | ComponentEntityType::Func(_))
            })
        };
        let mut needs = Vec::new();
        for name in self.imports.iter().filter(is_needed) {
            if needs.len() == IMPORTS_MAX {
                return Err(DeriveError::TooLarge { what: "imports", limit: IMPORTS_MAX });
            }
            needs.push(cut(name, INTERFACE_NAME_MAX_BYTES));
        }
        needs.sort_unstable();
        Ok(needs)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that `map_err` takes")]
fn malformed(error: wasmparser::BinaryReaderError) -> DeriveError {
    DeriveError::Malformed(error.to_string())
}

#[derive(Default)]
struct Sections<'a> {
    imports: Vec<&'a str>,
    exports: Vec<&'a str>,
    wit: Vec<&'a str>,
    package_docs: Vec<&'a [u8]>,
    docs_bytes: usize,
    producers: Vec<String>,
    metadata: Metadata,
}

impl<'a> Sections<'a> {
    /// Custom sections are hints: one that cannot be read is as good as absent.
    fn custom(&mut self, section: &CustomSectionReader<'a>, is_root: bool) {
        let data = section.data();
        match section.as_known() {
            KnownCustom::Producers(_) => self.producers(data, section.data_offset()),
            KnownCustom::ComponentName(_) if is_root => {
                if let Ok(names) = ComponentNames::from_bytes(data, section.data_offset()) {
                    let name = names.get_name();
                    self.metadata.name = name.as_ref().map(|name| cut(name, METADATA_MAX_BYTES));
                }
            }
            _ => match section.name() {
                "agent.wit" if self.has_room(data) => {
                    self.wit.extend(std::str::from_utf8(data).ok());
                }
                "package-docs" if self.has_room(data) => self.package_docs.push(data),
                name if is_root => self.metadata_text(name, data),
                _ => {}
            },
        }
    }

    fn has_room(&mut self, data: &[u8]) -> bool {
        self.docs_bytes = self.docs_bytes.saturating_add(data.len());
        self.docs_bytes <= DOCS_SECTIONS_MAX_BYTES
    }

    fn metadata_text(&mut self, name: &str, data: &[u8]) {
        let slot = match name {
            "description" => &mut self.metadata.description,
            "version" => &mut self.metadata.version,
            "authors" => &mut self.metadata.authors,
            "licenses" => &mut self.metadata.licenses,
            _ => return,
        };
        let text = std::str::from_utf8(data).ok().map(str::trim).filter(|text| !text.is_empty());
        *slot = text.map(|text| cut(text, METADATA_MAX_BYTES));
    }

    /// The linker of shared libraries exports a `<library>:memory_base` for each.
    fn libraries(&mut self, section: ExportSectionReader<'a>) -> wasmparser::Result<()> {
        for export in section {
            if let Some(library) = export?.name.strip_suffix(":memory_base") {
                self.produced_by(library);
            }
        }
        Ok(())
    }

    fn produced_by(&mut self, tool: &str) {
        if self.producers.len() < PRODUCERS_MAX {
            self.producers.push(cut(tool, IDENTIFIER_MAX_BYTES));
        }
    }

    fn producers(&mut self, data: &[u8], offset: usize) {
        let Ok(producers) = Producers::from_bytes(data, offset) else { return };
        for (_, field) in producers.iter() {
            for (name, _) in field.iter() {
                self.produced_by(name);
            }
        }
    }
}
