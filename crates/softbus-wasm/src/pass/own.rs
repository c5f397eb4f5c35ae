//! Functions that the pass adds to a program.

use wasm_encoder::reencode::Reencode;
use wasm_encoder::{BlockType, Function, Instruction, MemArg};
use wasmparser::ValType;

use super::Refusal;
use super::emit::{AGAIN, Code, Indices, NOTES, Own, load, store};
use super::frame::{Slot, layout};
use super::indices::{Base, Helper};

/// The frame that is saved of a function which stands in for an imported one: its parameters.
pub(super) fn stand_in_frame(params: &[ValType]) -> Result<(Vec<Slot>, u32), Refusal> {
    let held: Vec<(u32, ValType)> = (0..).zip(params.iter().copied()).collect();
    layout(&held)
}

/// What stands in for an imported function in which the program may stop: its frame, and its code.
pub(super) fn stand_in(base: &mut Base, import: u32, site: u32) -> Result<(u32, Code), Refusal> {
    let (params, results) = base.program.signature(import);
    let (slots, bytes) = stand_in_frame(&params)?;
    let side = base.own.side;
    let first = params.len() as u32;
    let frame = first + results.len() as u32;
    let mut locals = Vec::new();
    for ty in results.iter().chain([&ValType::I32]) {
        locals.push((1, base.val_type(*ty)?));
    }
    let mut code = Function::new(locals);
    code.instruction(&Instruction::Block(BlockType::Empty));
    for param in 0..first {
        code.instruction(&Instruction::LocalGet(param));
    }
    code.instruction(&Instruction::Call(import));
    for result in (first..frame).rev() {
        code.instruction(&Instruction::LocalSet(result));
    }
    code.instruction(&Instruction::I32Const(0));
    code.instruction(&load(ValType::I32, AGAIN, side));
    code.instruction(&Instruction::BrIf(0));
    for result in first..frame {
        code.instruction(&Instruction::LocalGet(result));
    }
    code.instruction(&Instruction::Return);
    code.instruction(&Instruction::End);
    code.instruction(&Instruction::I32Const(bytes as i32));
    code.instruction(&Instruction::Call(base.own.reserve));
    code.instruction(&Instruction::LocalSet(frame));
    for slot in slots {
        code.instruction(&Instruction::LocalGet(frame));
        code.instruction(&Instruction::LocalGet(slot.local));
        code.instruction(&store(slot.ty, u64::from(slot.offset), side));
    }
    code.instruction(&Instruction::LocalGet(frame));
    code.instruction(&Instruction::I32Const(site as i32));
    code.instruction(&store(ValType::I32, u64::from(bytes) - 4, side));
    code.instruction(&Instruction::Throw(base.own.tag));
    code.instruction(&Instruction::End);
    Ok((bytes, finished(&code)))
}

/// Room for a frame of so many bytes, and where it begins.
pub(super) fn reserve(own: &Own) -> Code {
    let mut code = Function::new([(2, wasm_encoder::ValType::I32)]);
    for instruction in [
        Instruction::GlobalGet(own.top),
        Instruction::LocalTee(1),
        Instruction::LocalGet(0),
        Instruction::I32Add,
        Instruction::LocalSet(2),
        Instruction::Block(BlockType::Empty),
        Instruction::LocalGet(2),
        Instruction::MemorySize(own.side),
        Instruction::I32Const(16),
        Instruction::I32Shl,
        Instruction::I32LeU,
        Instruction::BrIf(0),
        Instruction::LocalGet(0),
        Instruction::I32Const(16),
        Instruction::I32ShrU,
        Instruction::I32Const(1),
        Instruction::I32Add,
        Instruction::MemoryGrow(own.side),
        Instruction::I32Const(-1),
        Instruction::I32Ne,
        Instruction::BrIf(0),
        // The frames are larger than they may be.
        Instruction::Unreachable,
        Instruction::End,
        Instruction::LocalGet(2),
        Instruction::GlobalSet(own.top),
        Instruction::LocalGet(1),
        Instruction::End,
    ] {
        code.instruction(&instruction);
    }
    finished(&code)
}

/// What does the work of one operator, and its type.
pub(super) fn helper(base: &mut Base, helper: Helper) -> Result<(u32, Code), Refusal> {
    let mut code = Function::new([]);
    let three = [ValType::I32; 3];
    let (params, results): (&[ValType], &[ValType]) = match helper {
        Helper::RefFunc(_) => (&[], &[ValType::FUNCREF]),
        Helper::MemoryInit { .. } | Helper::TableInit { .. } => (&three, &[]),
        Helper::DataDrop(_) | Helper::ElemDrop(_) => (&[], &[]),
    };
    for param in 0..params.len() as u32 {
        code.instruction(&Instruction::LocalGet(param));
    }
    let (side, data) = (base.own.side, base.own.data);
    let note = |code: &mut Function, segment: u32| {
        code.instruction(&Instruction::I32Const(0));
        code.instruction(&Instruction::I32Const(1));
        let memarg = MemArg { offset: u64::from(NOTES + segment), align: 0, memory_index: side };
        code.instruction(&Instruction::I32Store8(memarg));
    };
    match helper {
        Helper::RefFunc(function) => {
            code.instruction(&Instruction::RefFunc(base.function_index(function)?));
        }
        Helper::MemoryInit { data, memory } => {
            code.instruction(&Instruction::MemoryInit { mem: base.memory_index(memory)?, data_index: data });
        }
        Helper::TableInit { elem, table } => {
            code.instruction(&Instruction::TableInit { elem_index: elem, table });
        }
        Helper::DataDrop(segment) => {
            code.instruction(&Instruction::DataDrop(segment));
            note(&mut code, segment);
        }
        Helper::ElemDrop(segment) => {
            code.instruction(&Instruction::ElemDrop(segment));
            note(&mut code, data + segment);
        }
    }
    code.instruction(&Instruction::End);
    Ok((base.ty(params, results), finished(&code)))
}

fn finished(code: &Function) -> Code {
    Code { bytes: code.clone().into_raw_body(), unlikely: Vec::new() }
}
