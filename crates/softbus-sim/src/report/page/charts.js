function charts() {}
