//! Which modules are let in, and what that took.

use std::sync::Arc;

use softbus_core::Hash;
use wasmparser::{ExternalKind, Parser, Payload, TypeRef, ValType};

use crate::engine::{offers, waits};
use crate::guard::guard;
use crate::pass::{AskMemory, Rewritten, rewrite};
use crate::{WasmError, bus, limits};

/// What the host calls of a command of WASI preview 1.
pub(crate) const COMMAND: &str = "_start";
/// What it calls of a reactor: first this, if it is there, then that, which gives its exit status.
pub(crate) const INITIALIZE: &str = "_initialize";
pub(crate) const REACTOR: &str = "softbus_main";

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
    shape(&source, &program)?;
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

/// Whether it is a command of WASI preview 1, or a reactor of the bus, that imports only what there is. It is a valid module.
fn shape(source: &[u8], program: &Rewritten) -> Result<(), WasmError> {
    let wrong = |error: wasmparser::BinaryReaderError| WasmError::Refused(error.into());
    let (mut entries, mut memories, mut imports) = ([None; 3], 0, 0);
    for payload in Parser::new(0).parse_all(source) {
        match payload.map_err(wrong)? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(wrong)?;
                    if !matches!(import.ty, TypeRef::Func(_)) || !offers(import.module, import.name) {
                        let cut = |name: &str| name.chars().take(64).collect();
                        return Err(WasmError::Import { module: cut(import.module), name: cut(import.name) });
                    }
                    if let Some(function) = bus::find(import.name).filter(|_| import.module == bus::MODULE) {
                        let of = |ty: bus::Ty| match ty {
                            bus::Ty::I32 => ValType::I32,
                            bus::Ty::I64 => ValType::I64,
                        };
                        let params: Vec<ValType> = function.params.iter().map(|(_, ty)| of(*ty)).collect();
                        let what = format!("imports `{}.{}`", import.module, import.name);
                        is_as(what, program.signature(imports), (&params, &[ValType::I32]))?;
                    }
                    imports += 1;
                }
            }
            Payload::MemorySection(section) => memories += section.count() as usize,
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.map_err(wrong)?;
                    let named = [COMMAND, INITIALIZE, REACTOR].iter().position(|name| *name == export.name);
                    if let Some(which) = named.filter(|_| export.kind == ExternalKind::Func) {
                        entries[which] = Some(export.index);
                    }
                }
            }
            _ => {}
        }
    }
    match entries {
        [None, _, None] => {
            return Err(WasmError::Shape(
                "it exports neither a function `_start`, as commands of WASI preview 1 do, nor `softbus_main`, as reactors of the \
                 bus do",
            ));
        }
        [Some(_), _, Some(_)] => {
            return Err(WasmError::Shape(
                "it exports both `_start` and `softbus_main`: it is not clear which of them is to run",
            ));
        }
        _ => {}
    }
    for (name, entry) in [COMMAND, INITIALIZE, REACTOR].into_iter().zip(entries) {
        let Some(function) = entry else { continue };
        let results: &[ValType] = if name == REACTOR { &[ValType::I32] } else { &[] };
        is_as(format!("exports `{name}`"), program.signature(function), (&[], results))?;
    }
    if memories > limits::MEMORIES {
        let (is, most) = (memories as u64, limits::MEMORIES as u64);
        return Err(WasmError::Limit { what: "the number of its memories", is, most });
    }
    Ok(())
}

/// Whether a function takes and gives what it must.
fn is_as(
    what: String,
    (params, results): (Vec<ValType>, Vec<ValType>),
    wants: (&[ValType], &[ValType]),
) -> Result<(), WasmError> {
    if (params.as_slice(), results.as_slice()) == wants {
        return Ok(());
    }
    let list = |types: &[ValType]| {
        let cut = if types.len() > 16 { ", …" } else { "" };
        let types: Vec<String> = types.iter().take(16).map(ToString::to_string).collect();
        format!("({}{cut})", types.join(", "))
    };
    let written = |params: &[ValType], results: &[ValType]| format!("{} -> {}", list(params), list(results));
    Err(WasmError::Signature { what, is: written(&params, &results), wants: written(wants.0, wants.1) })
}
