//! Accelerators as Linux shows them: render nodes of graphics processors, and compute accelerators. Elsewhere there are
//! none to read; a configuration can declare them.

use std::path::{Path, PathBuf};

use softbus_core::{Accelerator, AcceleratorKind, limits};

/// Makers by their PCI vendor id.
const MAKERS: [(u32, &str); 4] =
    [(0x1002, "AMD"), (0x10de, "NVIDIA"), (0x8086, "Intel"), (0x1ab8, "Parallels")];
/// Display adapters of virtual machines (virtio, VMware, QEMU, VirtualBox): they compute nothing by themselves.
const VIRTUAL: [u32; 4] = [0x1af4, 0x15ad, 0x1234, 0x80ee];
/// Longest file that is read here, in bytes.
const FILE_BYTES: u64 = 4096;

/// All accelerators below `sys` (`/sys`), in order of their names.
pub(super) fn accelerators(sys: &Path) -> Vec<Accelerator> {
    let gpus = devices(&sys.join("class/drm"), "renderD").into_iter().map(|d| (AcceleratorKind::Gpu, d));
    let npus = devices(&sys.join("class/accel"), "accel").into_iter().map(|d| (AcceleratorKind::Npu, d));
    gpus.chain(npus).filter_map(|(kind, device)| read(kind, &device)).take(limits::PROFILE_ENTRIES).collect()
}

/// The devices behind the nodes of a class whose names begin so.
fn devices(class: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(nodes) = std::fs::read_dir(class) else { return Vec::new() };
    let mut found: Vec<PathBuf> = nodes
        .filter_map(Result::ok)
        .filter(|node| node.file_name().to_string_lossy().starts_with(prefix))
        .map(|node| node.path().join("device"))
        .take(limits::PROFILE_ENTRIES)
        .collect();
    found.sort();
    found
}

fn read(kind: AcceleratorKind, device: &Path) -> Option<Accelerator> {
    let number = |name: &str| {
        let text = text(&device.join(name))?;
        u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
    };
    let driver = text(&device.join("uevent"))
        .and_then(|text| text.lines().find_map(|l| l.strip_prefix("DRIVER=").map(str::to_owned)));
    let name = match number("vendor") {
        Some(vendor) if VIRTUAL.contains(&vendor) => return None,
        Some(vendor) => {
            let maker = MAKERS.iter().find(|(id, _)| *id == vendor).map(|(_, maker)| (*maker).to_owned());
            let maker = maker.unwrap_or_else(|| format!("{vendor:04x}"));
            number("device").map_or(maker.clone(), |model| format!("{maker} {model:04x}"))
        }
        // Of a system on a chip, which has no vendor id, the driver says what it is.
        None => driver?,
    };
    // Only some drivers tell it; of the others it counts as shared, so that nothing is promised that is not known.
    let memory_bytes =
        text(&device.join("mem_info_vram_total")).and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let name = name.chars().filter(|c| !c.is_control()).take(limits::NAME_BYTES / 4).collect();
    Some(Accelerator { kind, name, memory_bytes })
}

fn text(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).ok()?;
    std::io::Read::read_to_string(&mut std::io::Read::take(file, FILE_BYTES), &mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn render_nodes_and_neural_processors_are_read() {
        let sys = tempfile::tempdir().unwrap();
        let device = |node: &str, files: &[(&str, &str)]| {
            let device = sys.path().join("class").join(node).join("device");
            std::fs::create_dir_all(&device).unwrap();
            for (name, content) in files {
                std::fs::write(device.join(name), content).unwrap();
            }
        };
        assert_eq!(accelerators(sys.path()), []);
        device("drm/card0", &[("vendor", "0x1002\n")]);
        device(
            "drm/renderD128",
            &[("vendor", "0x1002\n"), ("device", "0x73bf\n"), ("mem_info_vram_total", "17163091968\n")],
        );
        device("drm/renderD129", &[("vendor", "0x1af4\n"), ("device", "0x1050\n")]);
        device("drm/renderD130", &[("uevent", "DRIVER=panfrost\nOF_NAME=gpu\n")]);
        device("accel/accel0", &[("vendor", "0x8086\n"), ("device", "0x7d1d\n")]);
        device("accel/accel1", &[("vendor", "none")]);
        let found = accelerators(sys.path());
        let told: Vec<_> = found.iter().map(|a| (a.kind, a.name.as_str(), a.memory_bytes)).collect();
        use AcceleratorKind::{Gpu, Npu};
        assert_eq!(
            told,
            [(Gpu, "AMD 73bf", 17_163_091_968), (Gpu, "panfrost", 0), (Npu, "Intel 7d1d", 0)],
            "no display adapter of a virtual machine, and nothing that says nothing of itself"
        );
    }
}
