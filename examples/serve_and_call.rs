//! One device offers a service, another calls it. Access is checked before the handler runs.
//!
//! `cargo run -p softbus --example serve_and_call`
#![allow(clippy::print_stdout)] // an example talks to whoever runs it

mod common;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (phone, lamp) = common::two_devices(folder.path(), ["phone", "lamp"], |device| device).await?;

    // The service: a name, a major version, and what it answers.
    lamp.answer("lamp/1", |from, request| async move {
        println!("lamp: {} asks for {:?}", from.device, String::from_utf8_lossy(&request));
        Ok(b"the light is on".to_vec())
    })?;

    // The call: whoever belongs to the circle may.
    let answer = phone.request(lamp.id(), "lamp/1", b"light".to_vec()).await?;
    println!("phone: {}", String::from_utf8_lossy(&answer));

    // Nobody offers this one, and the error says so.
    match phone.request(lamp.id(), "toaster/1", Vec::new()).await {
        Err(error) => println!("phone: {error}"),
        Ok(_) => anyhow::bail!("the lamp is no toaster"),
    }
    phone.shutdown().await;
    lamp.shutdown().await;
    Ok(())
}
