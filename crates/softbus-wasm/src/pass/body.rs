//! A function's body as the pass looks at it: operators, how they nest, and what stands on the operand stack where a
//! frame may have to be saved.

use std::collections::BTreeMap;

use wasmparser::{BlockType, FuncValidator, FunctionBody, Operator, ValType, WasmModuleResources};

use super::Refusal;

/// Most values on the operand stack at a place where a frame may be saved.
pub(super) const STACK_VALUES: usize = 1000;
/// Most operators of a function.
pub(super) const OPERATORS: usize = 1 << 22;

/// What all functions of a module may have together, so that it cannot make the device run out of memory or time.
pub(super) struct Budget {
    operators: usize,
    locals: usize,
    stack: usize,
}

impl Budget {
    pub fn new() -> Self {
        Self { operators: 1 << 24, locals: 1 << 24, stack: 1 << 25 }
    }

    fn take(left: &mut usize, wanted: usize, what: &str) -> Result<(), Refusal> {
        *left = left
            .checked_sub(wanted)
            .ok_or_else(|| Refusal::new(format!("the module has too many {what}")))?;
        Ok(())
    }
}

/// Loops that may stand in each other.
const NESTED_LOOPS: usize = 100;

/// A body without its dead code.
pub(super) struct Body<'a> {
    /// Types of the parameters, then of the other locals.
    pub locals: Vec<ValType>,
    pub params: usize,
    /// Operators that can be reached; the last one is the function's `end`.
    pub ops: Vec<Operator<'a>>,
    /// Of each `block`, `loop`, `if`: where its `end` is, and its `else`.
    pub blocks: BTreeMap<usize, Block>,
    /// The operand stack before calls and blocks, bottom first.
    pub stacks: BTreeMap<usize, Vec<ValType>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub end: usize,
    pub otherwise: Option<usize>,
    pub ty: BlockType,
    /// Of the operand stack beneath its parameters.
    pub base: usize,
}

impl<'a> Body<'a> {
    /// Reads and checks a body.
    pub fn read<T: WasmModuleResources>(
        body: &FunctionBody<'a>,
        validator: &mut FuncValidator<T>,
        params: &[ValType],
        budget: &mut Budget,
    ) -> Result<Self, Refusal> {
        Budget::take(&mut budget.locals, params.len(), "locals")?;
        let mut locals = params.to_vec();
        let mut reader = body.get_locals_reader()?;
        for _ in 0..reader.get_count() {
            let at = reader.original_position();
            let (count, ty) = reader.read()?;
            // Checks the count, too.
            validator.define_locals(at, count, ty)?;
            Budget::take(&mut budget.locals, count as usize, "locals")?;
            locals.extend(std::iter::repeat_n(ty, count as usize));
        }
        let mut read = Self {
            params: params.len(),
            locals,
            ops: Vec::new(),
            blocks: BTreeMap::new(),
            stacks: BTreeMap::new(),
        };
        let mut open: Vec<usize> = Vec::new();
        let mut loops = 0usize;
        // How many blocks have been opened in dead code.
        let mut dead: Option<usize> = None;
        let mut ops = body.get_operators_reader()?;
        while !ops.eof() {
            let (op, at) = ops.read_with_offset()?;
            if read.ops.len() >= OPERATORS {
                return Err(Refusal::new(format!("it has more than {OPERATORS} operators")));
            }
            Budget::take(&mut budget.operators, 1, "operators")?;
            if let Some(inner) = &mut dead {
                validator.op(at, &op)?;
                match op {
                    Operator::Block { .. }
                    | Operator::Loop { .. }
                    | Operator::If { .. }
                    | Operator::TryTable { .. }
                    | Operator::Try { .. } => *inner += 1,
                    Operator::End if *inner > 0 => *inner -= 1,
                    Operator::End | Operator::Else if *inner == 0 => {
                        dead = None;
                        loops -= usize::from(read.close(&op, &mut open));
                    }
                    _ => {}
                }
                continue;
            }
            let index = read.ops.len();
            let snapshot = matches!(
                op,
                Operator::Block { .. }
                    | Operator::Loop { .. }
                    | Operator::If { .. }
                    | Operator::Call { .. }
                    | Operator::CallIndirect { .. }
                    | Operator::ReturnCall { .. }
                    | Operator::ReturnCallIndirect { .. }
            );
            if snapshot {
                let values = stack(validator)?;
                Budget::take(&mut budget.stack, values.len() + 1, "values on operand stacks")?;
                read.stacks.insert(index, values);
            }
            validator.op(at, &op)?;
            match &op {
                Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty } => {
                    let base = validator.get_control_frame(0).map_or(0, |frame| frame.height);
                    read.blocks.insert(index, Block { end: 0, otherwise: None, ty: *blockty, base });
                    open.push(index);
                    if let Operator::Loop { .. } = op {
                        loops += 1;
                        if loops > NESTED_LOOPS {
                            return Err(Refusal::new(format!(
                                "it has more than {NESTED_LOOPS} loops in each other"
                            )));
                        }
                    }
                    read.ops.push(op);
                }
                Operator::End | Operator::Else => loops -= usize::from(read.close(&op, &mut open)),
                _ => {
                    read.ops.push(op);
                    if validator.get_control_frame(0).is_some_and(|frame| frame.unreachable) {
                        dead = Some(0);
                    }
                }
            }
        }
        ops.finish()?;
        Ok(read)
    }

    /// Whether a loop ends.
    fn close(&mut self, op: &Operator<'a>, open: &mut Vec<usize>) -> bool {
        let index = self.ops.len();
        if let Some(block) = open.last().and_then(|at| self.blocks.get_mut(at)) {
            match op {
                Operator::Else => block.otherwise = Some(index),
                _ => block.end = index,
            }
        }
        let closed = if matches!(op, Operator::End) { open.pop() } else { None };
        self.ops.push(op.clone());
        closed.is_some_and(|at| matches!(self.ops[at], Operator::Loop { .. }))
    }
}

fn stack<T: WasmModuleResources>(validator: &FuncValidator<T>) -> Result<Vec<ValType>, Refusal> {
    let height = validator.operand_stack_height() as usize;
    if height > STACK_VALUES {
        return Err(Refusal::new(format!("it has more than {STACK_VALUES} values on its operand stack")));
    }
    (0..height)
        .rev()
        .map(|depth| {
            validator.get_operand_type(depth).flatten().ok_or_else(|| Refusal::new("a value without a type"))
        })
        .collect()
}
