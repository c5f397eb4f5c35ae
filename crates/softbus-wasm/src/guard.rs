//! How large a module may be, in each way that costs whoever compiles it: looked at before anything else is done with it.
//!
//! A compilation cannot be broken off, so its time and its memory are bounded by what it is given. They grow with the code, and
//! faster than it within one function.

use wasmparser::{Parser, Payload};

use crate::{WasmError, limits};

/// Whether it is small enough to be looked at, rewritten and compiled.
pub(crate) fn guard(module: &[u8]) -> Result<(), WasmError> {
    let within = |what: &'static str, is: u64, most: u64| {
        if is > most { Err(WasmError::Limit { what, is, most }) } else { Ok(()) }
    };
    let wrong = |error: wasmparser::BinaryReaderError| WasmError::Refused(error.into());
    within("the size of the module in bytes", module.len() as u64, limits::MODULE_BYTES)?;
    let mut code = 0;
    let mut others = 0u64;
    for payload in Parser::new(0).parse_all(module) {
        let more = match payload.map_err(wrong)? {
            Payload::CodeSectionStart { count, size, .. } => {
                within("the number of its functions", count.into(), limits::FUNCTIONS)?;
                within("the size of its code in bytes", size.into(), limits::CODE_BYTES)?;
                0
            }
            Payload::CodeSectionEntry(body) => {
                let bytes = body.range().len() as u64;
                code += bytes;
                within("the size of one of its functions in bytes", bytes, limits::FUNCTION_BYTES)?;
                within("the size of its code in bytes", code, limits::CODE_BYTES)?;
                0
            }
            Payload::TypeSection(section) => section.count(),
            Payload::ImportSection(section) => section.count(),
            Payload::FunctionSection(section) => {
                within("the number of its functions", section.count().into(), limits::FUNCTIONS)?;
                0
            }
            Payload::TableSection(section) => section.count(),
            Payload::GlobalSection(section) => section.count(),
            Payload::ExportSection(section) => section.count(),
            Payload::ElementSection(section) => section.count(),
            Payload::DataSection(section) => section.count(),
            _ => 0,
        };
        others += u64::from(more);
        within(
            "the number of its types, imports, tables, globals, exports and segments",
            others,
            limits::PARTS,
        )?;
    }
    Ok(())
}
