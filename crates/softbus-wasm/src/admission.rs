//! Which modules are let in, and what that took.

use std::sync::Arc;

use softbus_core::Hash;
use wasmparser::{ExternalKind, Parser, Payload, TypeRef};

use crate::engine::{offers, waits};
use crate::guard::guard;
use crate::pass::{AskMemory, Rewritten, rewrite};
use crate::{WasmError, limits};

/// What a module became.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admission {
    /// Names the module: BLAKE3 of its bytes.
    pub hash: Hash,
    /// Of the module, in bytes.
    pub module_bytes: u64,
    /// Of the module that can be stopped.
    pub rewritten_bytes: u64,
    /// Functions that it has.
    pub functions: usize,
    /// Functions in which it can be stopped.
    pub stoppable: usize,
    /// Places at which it can be stopped.
    pub sites: usize,
}

/// A module that was let in.
pub(crate) struct Admitted {
    pub source: Arc<[u8]>,
    pub program: Arc<Rewritten>,
    pub admission: Admission,
}

/// Looks at a module without running it: whether it is let in, and what became of it.
///
/// # Errors
/// Why it is refused.
pub fn inspect(module: &[u8]) -> Result<Admission, WasmError> {
    admit(module.into(), AskMemory::Shared).map(|admitted| admitted.admission)
}

pub(crate) fn admit(source: Arc<[u8]>, ask: AskMemory) -> Result<Admitted, WasmError> {
    guard(&source)?;
    let program = rewrite(source.clone(), &waits, ask)?;
    shape(&source)?;
    let admission = Admission {
        hash: Hash(*blake3::hash(&source).as_bytes()),
        module_bytes: source.len() as u64,
        rewritten_bytes: program.module.len() as u64,
        functions: program.functions(),
        stoppable: program.stoppable(),
        sites: program.sites.len(),
    };
    Ok(Admitted { source, program: Arc::new(program), admission })
}

/// Whether it is a command of WASI preview 1 that imports only what there is. It is a valid module.
fn shape(source: &[u8]) -> Result<(), WasmError> {
    let wrong = |error: wasmparser::BinaryReaderError| WasmError::Refused(error.into());
    let (mut starts, mut memories) = (false, 0);
    for payload in Parser::new(0).parse_all(source) {
        match payload.map_err(wrong)? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(wrong)?;
                    if !matches!(import.ty, TypeRef::Func(_)) || !offers(import.module, import.name) {
                        let cut = |name: &str| name.chars().take(64).collect();
                        return Err(WasmError::Import { module: cut(import.module), name: cut(import.name) });
                    }
                }
            }
            Payload::MemorySection(section) => memories += section.count() as usize,
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.map_err(wrong)?;
                    starts |= export.name == "_start" && export.kind == ExternalKind::Func;
                }
            }
            _ => {}
        }
    }
    if !starts {
        return Err(WasmError::Shape("it exports no function `_start`: it is no command of WASI preview 1"));
    }
    if memories > limits::MEMORIES {
        let (is, most) = (memories as u64, limits::MEMORIES as u64);
        return Err(WasmError::Limit { what: "the number of its memories", is, most });
    }
    Ok(())
}
