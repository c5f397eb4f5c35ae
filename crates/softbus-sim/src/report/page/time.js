function transport() {}
