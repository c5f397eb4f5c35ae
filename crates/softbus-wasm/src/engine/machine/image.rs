//! What a program is, told and read again.

use wasmtime::{Extern, HeapType, Memory, Mutability, Ref, Val};

use super::super::{Bits, Core};
use super::{Body, at_once};
use crate::WasmError;
use crate::pass::PREFIX;

impl Body {
    /// The parts of a kind that it exports for the host, by their number.
    fn all<T>(&mut self, kind: char, pick: impl Fn(Extern) -> Option<T>) -> Vec<T> {
        let mut all = Vec::new();
        while let Some(export) =
            self.instance.get_export(&mut self.store, &format!("{PREFIX}{kind}{}", all.len())).and_then(&pick)
        {
            all.push(export);
        }
        all
    }

    /// All but its memories.
    pub(super) fn core(&mut self) -> Result<Core, WasmError> {
        let memories = self.all('m', Extern::into_memory);
        let memories = memories.iter().map(|memory| memory.data_size(&self.store) as u64).collect();
        let mut globals = Vec::new();
        for global in self.all('g', Extern::into_global) {
            let can_change = global.ty(&self.store).mutability() == Mutability::Var;
            let value = global.get(&mut self.store);
            globals.push(if can_change { self.bits(&value)? } else { None });
        }
        let mut tables = Vec::new();
        for table in self.all('t', Extern::into_table) {
            let mut held = Vec::new();
            for at in 0..table.size(&self.store) {
                let element = table.get(&mut self.store, at);
                held.push(match element {
                    Some(Ref::Func(Some(function))) => Some(self.number(function)?),
                    _ => None,
                });
            }
            tables.push(held);
        }
        let notes = self.side.data(&self.store).get(self.notes()).unwrap_or_default().to_vec();
        let frames = self.frames()?;
        Ok(Core { stage: self.stage, memories, globals, tables, notes, frames })
    }

    /// The bytes of one of its memories.
    pub(super) fn bytes(&mut self, number: usize) -> &[u8] {
        let memory = self.instance.get_memory(&mut self.store, &format!("{PREFIX}m{number}"));
        memory.map_or(&[], |memory| memory.data(&self.store))
    }

    fn number(&mut self, function: wasmtime::Func) -> Result<u32, WasmError> {
        let raw = function.to_raw(&mut self.store) as usize;
        self.functions.get(&raw).copied().ok_or(WasmError::State("it holds a function that is not its own"))
    }

    fn bits(&mut self, value: &Val) -> Result<Option<Bits>, WasmError> {
        Ok(Some(match value {
            Val::I32(value) => Bits::I32(*value as u32),
            Val::I64(value) => Bits::I64(*value as u64),
            Val::F32(bits) => Bits::F32(*bits),
            Val::F64(bits) => Bits::F64(*bits),
            Val::V128(value) => Bits::V128(value.as_u128()),
            Val::FuncRef(None) => Bits::Function(None),
            Val::FuncRef(Some(function)) => Bits::Function(Some(self.number(*function)?)),
            // Of the host's references a program has none but null.
            _ => return Ok(None),
        }))
    }

    /// Puts bytes at a place of one of its memories, which grows for that.
    pub(super) fn fill(&mut self, number: usize, at: usize, bytes: &[u8]) -> Result<(), WasmError> {
        let memory = self.instance.get_memory(&mut self.store, &format!("{PREFIX}m{number}"));
        let memory = memory.ok_or(WasmError::State("it has another number of memories"))?;
        let end = at.saturating_add(bytes.len());
        self.grow(memory, end.next_multiple_of(1 << 16).max(memory.data_size(&self.store)))?;
        let there = memory.data_mut(&mut self.store).get_mut(at..end);
        there.ok_or(WasmError::State("a memory is larger than it may be"))?.copy_from_slice(bytes);
        Ok(())
    }

    fn grow(&mut self, memory: Memory, size: usize) -> Result<(), WasmError> {
        let page = 1 << 16;
        let more = size.checked_sub(memory.data_size(&self.store)).filter(|more| more % page == 0);
        let more = more.ok_or(WasmError::State("a memory has a size that it cannot have"))?;
        if more > 0 {
            let grown = memory.grow(&mut self.store, (more / page) as u64);
            grown.map_err(|_| WasmError::State("a memory is larger than it may be"))?;
        }
        Ok(())
    }

    /// Becomes what was told; of each memory so many bytes are there already.
    pub(super) fn become_what(
        &mut self,
        core: &Core,
        bytes: &[&[u8]],
        there: &[usize],
    ) -> Result<(), WasmError> {
        let memories = self.all('m', Extern::into_memory);
        if memories.len() != bytes.len() || there.len() != bytes.len() {
            return Err(WasmError::State("it has another number of memories"));
        }
        for ((memory, bytes), there) in memories.into_iter().zip(bytes).zip(there) {
            self.grow(memory, bytes.len())?;
            let held = memory.data_mut(&mut self.store);
            let (same, other) = held.split_at_mut((*there).min(bytes.len()));
            debug_assert!(*same == bytes[..same.len()], "what was put there beforehand did not follow");
            other.copy_from_slice(&bytes[same.len()..]);
        }
        let globals = self.all('g', Extern::into_global);
        if globals.len() != core.globals.len() {
            return Err(WasmError::State("it has another number of globals"));
        }
        for (global, bits) in globals.into_iter().zip(&core.globals) {
            let Some(bits) = bits else { continue };
            let value = match bits {
                Bits::I32(bits) => Val::I32(*bits as i32),
                Bits::I64(bits) => Val::I64(*bits as i64),
                Bits::F32(bits) => Val::F32(*bits),
                Bits::F64(bits) => Val::F64(*bits),
                Bits::V128(bits) => Val::V128((*bits).into()),
                Bits::Function(None) => Val::FuncRef(None),
                Bits::Function(Some(number)) => Val::FuncRef(Some(self.own_function(&format!("f{number}"))?)),
            };
            let set = global.set(&mut self.store, value);
            set.map_err(|_| WasmError::State("a global has a value that it cannot have"))?;
        }
        let tables = self.all('t', Extern::into_table);
        if tables.len() != core.tables.len() {
            return Err(WasmError::State("it has another number of tables"));
        }
        for (table, held) in tables.into_iter().zip(&core.tables) {
            let wrong = WasmError::State("a table has a size that it cannot have");
            let size = table.size(&self.store);
            let more = (held.len() as u64).checked_sub(size).ok_or(wrong.clone())?;
            let is_of_functions = matches!(
                table.ty(&self.store).element().heap_type(),
                HeapType::Func | HeapType::ConcreteFunc(_) | HeapType::NoFunc
            );
            let null = Ref::null(table.ty(&self.store).element().heap_type());
            if more > 0 {
                table.grow(&mut self.store, more, null.clone()).map_err(|_| wrong)?;
            }
            for (at, function) in (0..).zip(held) {
                let element = match function {
                    Some(number) if is_of_functions => {
                        Ref::Func(Some(self.own_function(&format!("f{number}"))?))
                    }
                    Some(_) => return Err(WasmError::State("a table holds what it cannot hold")),
                    // A table of references that are never null was filled as it was made, and is not told otherwise.
                    None if !table.ty(&self.store).element().is_nullable() => continue,
                    None => null.clone(),
                };
                let set = table.set(&mut self.store, at, element);
                set.map_err(|_| WasmError::State("a table holds what it cannot hold"))?;
            }
        }
        self.sites(&core.frames)?;
        let notes = self.notes();
        if core.notes.len() != notes.len() {
            return Err(WasmError::State("it has another number of segments"));
        }
        for (note, dropped) in (0..).zip(&core.notes) {
            if *dropped != 0 {
                let name = self.compiled.program.drops.get(&note).cloned();
                let name = name.ok_or(WasmError::State("it dropped a segment that it has not"))?;
                let drop = self.own_function(&name)?;
                at_once(drop.call_async(&mut self.store, &[], &mut []))?.map_err(WasmError::engine)?;
            }
        }
        let first = self.compiled.program.frames as usize;
        let top = first + core.frames.len();
        let more = (top.div_ceil(1 << 16) as u64).saturating_sub(self.side.size(&self.store));
        let no_room = |_| WasmError::State("its frames have no room");
        self.store.data_mut().host_grows = true;
        let grown = self.side.grow(&mut self.store, more);
        self.store.data_mut().host_grows = false;
        grown.map_err(no_room)?;
        self.side
            .write(&mut self.store, first, &core.frames)
            .map_err(|_| WasmError::State("its frames have no room"))?;
        let top = i32::try_from(top).map_err(|_| WasmError::State("its frames have no room"))?;
        self.top()?.set(&mut self.store, Val::I32(top)).map_err(WasmError::engine)?;
        self.stage = core.stage;
        Ok(())
    }
}
