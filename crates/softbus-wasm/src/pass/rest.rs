//! Modules that go on with frames: for each site at which a program was stopped one function, which takes its frame from
//! the memory for frames and does what the function had still to do.

use std::borrow::Cow;
use std::collections::BTreeSet;

use wasm_encoder::reencode::Reencode;
use wasm_encoder::{
    BranchHint, BranchHints, CodeSection, ConstExpr, ElementSection, Elements, EntityType, Function,
    FunctionSection, GlobalType, ImportSection, Instruction, MemoryType, Module, RefType, TableType, TagKind,
    TagType, TypeSection, ValType as Val,
};
use wasmparser::ValType;

use super::Refusal;
use super::emit::{Code, Emit, Indices, Own, load};
use super::indices::{Helper, Imported, Rest, Types};
use super::module::{PREFIX, Rewritten};
use super::own::stand_in_frame;

impl Rewritten {
    /// A module that goes on with frames of these sites; it puts each function into the table, at the number of its site.
    ///
    /// # Errors
    /// There is no such site.
    pub fn rest(&self, sites: &BTreeSet<u32>) -> Result<Vec<u8>, Refusal> {
        let mut rest = Rest {
            program: self.program.clone(),
            types: Types::new(&self.program, 0),
            own: Own {
                poll: 0,
                reserve: 1,
                tag: 0,
                side: 0,
                ask: 1,
                asked: self.ask,
                top: 0,
                table: 0,
                data: 0,
                frames: self.frames,
            },
            functions: vec![Imported::Poll, Imported::Reserve],
            memories: Vec::new(),
            tables: Vec::new(),
            globals: Vec::new(),
        };
        let mut types = Vec::new();
        let mut codes = Vec::new();
        for site in sites {
            let (function, number, _) = *self
                .sites
                .get(*site as usize)
                .ok_or_else(|| Refusal::new(format!("it has no site {site}")))?;
            let results = self.program.signature(function).1;
            types.push(rest.ty(&[], &results));
            codes.push(match self.functions.get(&function) {
                Some(stopping) => {
                    let body = self.body(function, stopping)?;
                    let mut frames = stopping.frames.clone();
                    Emit::new(&mut rest, &body, &mut frames, stopping.first_site, results).rest(number)?
                }
                None => again(&mut rest, function)?,
            });
        }
        self.link(rest, sites, &types, &codes)
    }

    fn link(
        &self,
        mut rest: Rest,
        sites: &BTreeSet<u32>,
        types: &[u32],
        codes: &[Code],
    ) -> Result<Vec<u8>, Refusal> {
        let mut imports = ImportSection::new();
        for function in rest.functions.clone() {
            let (name, params, results) = match function {
                Imported::Poll => ("poll".to_owned(), vec![ValType::I32], vec![ValType::I32]),
                Imported::Reserve => ("reserve".to_owned(), vec![ValType::I32], vec![ValType::I32]),
                Imported::Own(own) => {
                    let (params, results) = self.program.signature(own);
                    (format!("f{own}"), params, results)
                }
                Imported::Helper(helper, number) => {
                    let (params, results) = match helper {
                        Helper::RefFunc(_) => (vec![], vec![ValType::FUNCREF]),
                        Helper::MemoryInit { .. } | Helper::TableInit { .. } => {
                            (vec![ValType::I32; 3], vec![])
                        }
                        Helper::DataDrop(_) | Helper::ElemDrop(_) => (vec![], vec![]),
                    };
                    (format!("h{number}"), params, results)
                }
            };
            let ty = rest.types.find(&params, &results);
            imports.import(PREFIX, &name, EntityType::Function(ty));
        }
        let functions = rest.functions.len() as u32;
        let memory =
            MemoryType { minimum: 0, maximum: None, memory64: false, shared: false, page_size_log2: None };
        imports.import(
            PREFIX,
            "side",
            MemoryType { minimum: 1, maximum: Some(super::module::SIDE_PAGES), ..memory },
        );
        imports.import(PREFIX, "ask", super::module::ask_memory(self.ask));
        for number in rest.memories.clone() {
            let ty = rest.memory_type(self.memories[number as usize])?;
            imports.import(PREFIX, &format!("m{number}"), ty);
        }
        let frames_table = TableType {
            element_type: RefType::FUNCREF,
            table64: false,
            minimum: 0,
            maximum: None,
            shared: false,
        };
        imports.import(PREFIX, "rest", frames_table);
        for number in rest.tables.clone() {
            let ty = rest.table_type(self.tables[number as usize])?;
            imports.import(PREFIX, &format!("t{number}"), ty);
        }
        let top = GlobalType { val_type: Val::I32, mutable: true, shared: false };
        imports.import(PREFIX, "top", EntityType::Global(top));
        for number in rest.globals.clone() {
            let ty = rest.global_type(self.globals[number as usize])?;
            imports.import(PREFIX, &format!("g{number}"), EntityType::Global(ty));
        }
        let stop = rest.types.find(&[], &[]);
        imports.import(
            PREFIX,
            "stop",
            EntityType::Tag(TagType { kind: TagKind::Exception, func_type_idx: stop }),
        );
        let mut section = TypeSection::new();
        for (params, results) in rest.types.added.clone() {
            let params: Vec<Val> = params.iter().map(|ty| rest.val_type(*ty)).collect::<Result<_, _>>()?;
            let results: Vec<Val> = results.iter().map(|ty| rest.val_type(*ty)).collect::<Result<_, _>>()?;
            section.ty().function(params, results);
        }
        let mut declared = FunctionSection::new();
        for ty in types {
            declared.function(*ty);
        }
        let mut elements = ElementSection::new();
        for (function, site) in (functions..).zip(sites) {
            let only = Elements::Functions(Cow::Owned(vec![function]));
            elements.active(Some(0), &ConstExpr::i32_const(*site as i32), only);
        }
        let mut hints = BranchHints::new();
        let mut code_section = CodeSection::new();
        for (index, code) in (functions..).zip(codes) {
            let unlikely = code.unlikely.iter();
            let unlikely = unlikely.map(|at| BranchHint { branch_func_offset: *at, branch_hint_value: 0 });
            if unlikely.len() > 0 {
                hints.function_hints(index, unlikely);
            }
            code_section.raw(&code.bytes);
        }
        let mut module = Module::new();
        module.section(&section).section(&imports).section(&declared).section(&elements);
        if !hints.is_empty() {
            module.section(&hints);
        }
        module.section(&code_section);
        Ok(module.finish())
    }
}

/// Goes on with the frame of a function that stands in for an imported one: it calls anew.
fn again(rest: &mut Rest, function: u32) -> Result<Code, Refusal> {
    let (params, _) = rest.signature(function);
    let (slots, bytes) = stand_in_frame(&params)?;
    let (top, side) = (rest.own.top, rest.own.side);
    let callee = rest.function_index(function)?;
    let mut code = Function::new([(1, Val::I32)]);
    for instruction in [
        Instruction::GlobalGet(top),
        Instruction::I32Const(bytes as i32),
        Instruction::I32Sub,
        Instruction::LocalTee(0),
        Instruction::GlobalSet(top),
    ] {
        code.instruction(&instruction);
    }
    for slot in slots {
        code.instruction(&Instruction::LocalGet(0));
        code.instruction(&load(slot.ty, u64::from(slot.offset), side));
    }
    code.instruction(&Instruction::Call(callee));
    code.instruction(&Instruction::End);
    Ok(Code { bytes: code.into_raw_body(), unlikely: Vec::new() })
}
