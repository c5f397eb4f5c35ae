use std::io::Cursor;

use image::{ImageFormat, RgbaImage};
use proptest::prelude::*;

use super::*;

/// A picture of few pixels with all sorts of colours.
fn colourful(width: u32, height: u32) -> RgbaImage {
    RgbaImage::from_fn(width, height, |x, y| image::Rgba([(x * 7) as u8, (y * 11) as u8, (x * y) as u8, 255]))
}

fn file(picture: &RgbaImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    match format {
        ImageFormat::Jpeg => {
            image::DynamicImage::from(picture.clone()).to_rgb8().write_to(&mut bytes, format)
        }
        _ => picture.write_to(&mut bytes, format),
    }
    .unwrap();
    bytes.into_inner()
}

fn tiny() -> PictureInput {
    PictureInput { bytes: file(&colourful(40, 24), ImageFormat::Png), width: 72, samples: 4 }
}

fn run(mut job: PictureJob) -> Vec<u8> {
    while !job.step(u64::MAX).is_done {}
    job.finish().unwrap()
}

fn save(job: &PictureJob) -> Vec<u8> {
    postcard::to_allocvec(job).unwrap()
}

fn load(bytes: &[u8]) -> PictureJob {
    postcard::from_bytes(bytes).unwrap()
}

fn fingerprint(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The pixels of a small run, as computed by an optimised build. A processor, compiler or build for which this
/// fails would break the promise that a moved job ends as an unmoved one does.
#[test]
fn the_result_is_the_same_everywhere() {
    let png = run(PictureJob::new(&tiny()).unwrap());
    let pixels = image::load_from_memory(&png).unwrap().to_rgb8();
    assert_eq!(pixels.dimensions(), (72, 40));
    assert_eq!(fingerprint(pixels.as_raw()), GOLDEN, "{:#x}", fingerprint(pixels.as_raw()));
}
const GOLDEN: u64 = 0xe283_28f5_58f8_1b79;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn moved_at_any_step_it_ends_the_same(budgets in proptest::collection::vec(1u64..400_000, 1..40)) {
        let unmoved = run(PictureJob::new(&tiny()).unwrap());
        let mut job = PictureJob::new(&tiny()).unwrap();
        for budget in budgets.iter().cycle() {
            job = load(&save(&job));
            if job.step(*budget).is_done {
                break;
            }
        }
        prop_assert!(load(&save(&job)).finish().unwrap() == unmoved);
    }
}

#[test]
fn it_says_truly_how_far_it_is() {
    let input = tiny();
    let mut job = PictureJob::new(&input).unwrap();
    let (mut done, mut last, mut steps) = (0, 0.0, 0);
    assert_eq!(job.total_ops(), input.total_ops());
    assert!(matches!(job.finish(), Err(PictureError::NotDone { done_permille: 0 })));
    loop {
        let step = job.step(1);
        done += step.done_ops;
        steps += 1;
        assert!(step.done_ops > 0 && step.progress > last && step.progress <= 1.0);
        assert_eq!(job.done_ops(), done);
        last = step.progress;
        if step.is_done {
            break;
        }
    }
    assert_eq!((done, last), (job.total_ops(), 1.0));
    assert!(steps > 100, "{steps} steps are too coarse");
    assert_eq!(job.step(1_000).done_ops, 0, "done is done");
}

#[test]
fn a_step_keeps_within_its_budget_and_changes_few_places_of_the_state() {
    let mut job = PictureJob::new(&tiny()).unwrap();
    let before = save(&job);
    let step = job.step(10_000);
    assert!((10_000..10_000 + 32 * 8 * 160).contains(&step.done_ops), "{}", step.done_ops);
    let after = save(&job);
    assert_eq!(before.len(), after.len());
    let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
    assert!(changed > 0 && changed < 8_000, "{changed}");
    let claimed = tiny().state_bytes();
    assert!(
        (after.len() as u64..after.len() as u64 + (1 << 20)).contains(&claimed),
        "{claimed} {}",
        after.len()
    );
}

#[test]
fn a_preview_of_a_large_picture_is_small() {
    let job = PictureJob::new(&PictureInput { width: 700, ..tiny() }).unwrap();
    let picture = image::load_from_memory(&job.preview().unwrap()).unwrap();
    assert_eq!(picture.width(), 700 / 3);
    assert!(picture.to_rgb8().as_raw().len() < 200 << 10);
}

#[test]
fn a_preview_can_be_had_at_any_time() {
    let mut job = PictureJob::new(&tiny()).unwrap();
    let brightness = |job: &PictureJob| {
        let picture = image::load_from_memory(&job.preview().unwrap()).unwrap().to_rgb8();
        assert_eq!(picture.dimensions(), (36, 20));
        picture.as_raw().iter().map(|b| u64::from(*b)).sum::<u64>()
    };
    assert_eq!(brightness(&job), 0);
    job.step(job.total_ops() / 4);
    let early = brightness(&job);
    job.step(u64::MAX);
    let late = brightness(&job);
    assert!(early > 0 && early.abs_diff(late) < late / 2, "{early} {late}");
}

#[test]
fn pictures_of_all_sorts_are_read() {
    let picture = colourful(64, 48);
    let jpeg = PictureInput { bytes: file(&picture, ImageFormat::Jpeg), width: 16, samples: 1 };
    run(PictureJob::new(&jpeg).unwrap());
    let mut clear = picture.clone();
    clear.pixels_mut().for_each(|p| p.0[3] = 0);
    let small = light::decode(&file(&clear, ImageFormat::Png)).unwrap();
    assert!(small.rgb.iter().all(|b| *b == 0), "what is transparent does not shine");
    // However narrow.
    for (width, height) in [(INPUT_SIDE, 8), (8, 3000)] {
        let bytes = file(&colourful(width, height), ImageFormat::Png);
        run(PictureJob::new(&PictureInput { bytes, width: 16, samples: 1 }).unwrap());
    }
}

#[test]
fn a_prepared_input_is_small_and_gives_the_same_picture() {
    let large = file(&colourful(1500, 700), ImageFormat::Png);
    let prepared = PictureInput::prepare(&large, 32, 2).unwrap();
    let direct = PictureInput { bytes: large, width: 32, samples: 2 };
    let small = image::load_from_memory(&prepared.bytes).unwrap();
    assert_eq!((small.width(), small.height()), (512, 238));
    assert_eq!(run(PictureJob::new(&prepared).unwrap()), run(PictureJob::new(&direct).unwrap()));
    let sent = postcard::to_allocvec(&prepared).unwrap();
    assert_eq!(postcard::from_bytes::<PictureInput>(&sent).unwrap(), prepared);
}

#[test]
fn what_is_no_picture_is_refused_with_a_reason() {
    let refused = |bytes: &[u8]| {
        let input = PictureInput { bytes: bytes.to_vec(), width: 64, samples: 2 };
        PictureJob::new(&input).unwrap_err()
    };
    let png = file(&colourful(40, 24), ImageFormat::Png);
    let jpeg = file(&colourful(40, 24), ImageFormat::Jpeg);
    assert_eq!(refused(b""), PictureError::NoPicture);
    assert_eq!(refused(b"no picture at all"), PictureError::NoPicture);
    assert_eq!(refused(b"GIF89a\x10\0\x10\0\0\0\0;"), PictureError::NoPicture);
    for cut in [9, 20, 33, 60, png.len() / 2, png.len() - 20] {
        assert!(matches!(refused(&png[..cut]), PictureError::Broken { .. }), "{cut}");
    }
    for cut in [3, 20, 100] {
        assert!(
            matches!(refused(&jpeg[..cut]), PictureError::Broken { .. }),
            "{cut}: {:?}",
            refused(&jpeg[..cut])
        );
    }
    assert_eq!(
        refused(&file(&colourful(1, 1), ImageFormat::Png)),
        PictureError::TooSmall { width: 1, height: 1 }
    );
    assert_eq!(
        refused(&file(&colourful(100, 7), ImageFormat::Png)),
        PictureError::TooSmall { width: 100, height: 7 }
    );
    assert_eq!(refused(&vec![0; INPUT_BYTES + 1]), PictureError::TooLong { bytes: INPUT_BYTES + 1 });
}

/// A PNG of a few bytes whose header claims billions of pixels.
#[test]
fn huge_claims_are_refused_before_anything_is_allocated() {
    let claim = |width: u32, height: u32| {
        let mut png = file(&colourful(40, 24), ImageFormat::Png);
        png[16..20].copy_from_slice(&width.to_be_bytes());
        png[20..24].copy_from_slice(&height.to_be_bytes());
        let sum = crc(&png[12..29]);
        png[29..33].copy_from_slice(&sum.to_be_bytes());
        PictureJob::new(&PictureInput { bytes: png, width: 64, samples: 1 }).unwrap_err()
    };
    for (width, height) in [(0x7fff_ffff, 0x7fff_ffff), (1_000_000, 8), (16_384, 16_384), (8, 16_385)] {
        assert!(matches!(claim(width, height), PictureError::TooLarge { .. }), "{:?}", claim(width, height));
    }
    // A claim within bounds that the data does not keep.
    assert!(matches!(claim(4000, 4000), PictureError::Broken { .. }));
    assert!(matches!(claim(0, 0), PictureError::Broken { .. } | PictureError::TooSmall { .. }));
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 })
    })
}

#[test]
fn settings_out_of_bounds_are_refused() {
    let with = |width, samples| {
        PictureJob::new(&PictureInput { width, samples, ..tiny() })
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    assert_eq!(with(15, 1), Err("width is 15, but must be from 16 to 3840".into()));
    assert_eq!(with(u32::MAX, 1).unwrap_err(), "width is 4294967295, but must be from 16 to 3840");
    assert_eq!(with(16, 0), Err("samples is 0, but must be from 1 to 1024".into()));
    assert_eq!(with(16, 1025), Err("samples is 1025, but must be from 1 to 1024".into()));
    let absurd = PictureInput { width: u32::MAX, samples: u32::MAX, bytes: Vec::new() };
    assert!(
        absurd.total_ops() > 0 && absurd.memory_bytes() > 0,
        "no overflow in estimates of what is refused"
    );
}

#[test]
fn a_state_that_no_job_can_have_is_refused() {
    let mut job = PictureJob::new(&tiny()).unwrap();
    job.step(300_000);
    let sound = save(&job);
    assert!(postcard::from_bytes::<PictureJob>(&sound).is_ok());
    for cut in [0, 1, 100, sound.len() / 2, sound.len() - 1] {
        assert!(postcard::from_bytes::<PictureJob>(&sound[..cut]).is_err(), "{cut}");
    }
    // The last bytes are sizes and places. Whatever they say, it is refused or can be worked on to its end.
    for place in sound.len() - 10..sound.len() {
        for value in [0, 1, 2, 3, 5, 17, 31, 32, 33, 72, 127] {
            let mut bytes = sound.clone();
            bytes[place] = value;
            if let Ok(mut job) = postcard::from_bytes::<PictureJob>(&bytes) {
                job.step(20_000);
                job.preview().unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn damaged_pictures_and_states_never_panic(flips in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..8)) {
        let damage = |mut bytes: Vec<u8>| {
            for (place, value) in &flips {
                let place = place % bytes.len();
                bytes[place] = *value;
            }
            bytes
        };
        let _ = light::decode(&damage(file(&colourful(20, 20), ImageFormat::Png)));
        let _ = light::decode(&damage(file(&colourful(20, 20), ImageFormat::Jpeg)));
        let _ = postcard::from_bytes::<PictureInput>(&damage(postcard::to_allocvec(&tiny()).unwrap()));
    }
}

#[test]
fn the_sample_picture_is_drawn_as_shipped() {
    assert!(SAMPLE_PNG.len() <= 300 << 10);
    let drawn = draw_sample().unwrap();
    assert!(drawn == SAMPLE_PNG, "run `cargo run -p softbus-cli --example draw_sample` after changing it");
    PictureInput::sample().check().unwrap();
    let demo = PictureInput::sample();
    assert!((1 << 20..20 << 20).contains(&demo.state_bytes()), "{}", demo.state_bytes());
}

#[test]
fn a_strip_is_a_picture_also_once_it_was_made_small() {
    for (width, height) in [(12, 2304), (2304, 12), (8, 4000)] {
        let strip =
            image::RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 20) as u8, (y / 9) as u8, 77]));
        let mut file = std::io::Cursor::new(Vec::new());
        strip.write_to(&mut file, image::ImageFormat::Png).unwrap();
        let input = PictureInput::prepare(file.get_ref(), 16, 1).unwrap();
        PictureInput::prepare(&input.bytes, 16, 1).unwrap();
    }
}
