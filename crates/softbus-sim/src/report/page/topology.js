function topology() {}
