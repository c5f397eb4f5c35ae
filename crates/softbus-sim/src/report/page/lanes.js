function lanes() {}
