//! Modules that would cost whoever compiles them too much are refused, by name; those just below are taken.
#![allow(clippy::unwrap_used, reason = "a test")]

use softbus_wasm::{WasmError, inspect, limits};
use wasm_encoder::{
    CodeSection, ConstExpr, ExportKind, ExportSection, Function, FunctionSection, GlobalSection, GlobalType,
    Instruction, MemorySection, MemoryType, Module, TypeSection, ValType,
};

/// A command with so many functions beside `_start`, each with so many additions, and so many globals.
fn module(functions: u32, additions: usize, globals: u32) -> Vec<u8> {
    let mut module = Module::new();
    let mut types = TypeSection::new();
    types.ty().function([], []);
    module.section(&types);
    let mut all = FunctionSection::new();
    (0..=functions).for_each(|_| {
        all.function(0);
    });
    module.section(&all);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    module.section(&memories);
    let mut section = GlobalSection::new();
    for _ in 0..globals {
        let ty = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        section.global(ty, &ConstExpr::i32_const(0));
    }
    module.section(&section);
    let mut exports = ExportSection::new();
    exports.export("_start", ExportKind::Func, 0);
    module.section(&exports);
    let mut code = CodeSection::new();
    for _ in 0..=functions {
        let mut function = Function::new([(1, ValType::I32)]);
        // Three bytes for an addition: with its result in a local.
        for _ in 0..additions {
            function.instruction(&Instruction::LocalGet(0));
            function.instruction(&Instruction::I32Const(1));
            function.instruction(&Instruction::I32Add);
            function.instruction(&Instruction::LocalSet(0));
        }
        function.instruction(&Instruction::End);
        code.function(&function);
    }
    module.section(&code);
    module.finish()
}

fn limit(module: &[u8]) -> Option<&'static str> {
    match inspect(module) {
        Ok(_) => None,
        Err(WasmError::Limit { what, is, most }) => {
            assert!(is > most);
            Some(what)
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn what_is_too_large_in_any_way_is_refused_by_name() {
    let most = limits::FUNCTION_BYTES as usize / 7;
    assert_eq!(limit(&module(0, most - 10, 1)), None);
    assert_eq!(limit(&module(0, most + 10, 1)), Some("the size of one of its functions in bytes"));
    assert_eq!(limit(&module(40, most - 10, 1)), Some("the size of its code in bytes"));
    assert_eq!(limit(&module(limits::FUNCTIONS as u32 / 2, 0, 1)), None);
    assert_eq!(limit(&module(limits::FUNCTIONS as u32, 0, 1)), Some("the number of its functions"));
    let parts = "the number of its types, imports, tables, globals, exports and segments";
    assert_eq!(limit(&module(1, 1, limits::PARTS as u32)), Some(parts));
    let mut long = module(1, 1, 1);
    // A custom section with nothing in it but zeros.
    let size = limits::MODULE_BYTES as usize;
    long.push(0);
    for byte in 0..4 {
        long.push((size >> (7 * byte)) as u8 & 0x7f | 0x80);
    }
    long.push((size >> 28) as u8);
    long.resize(long.len() + size, 0);
    assert_eq!(limit(&long), Some("the size of the module in bytes"));
}
