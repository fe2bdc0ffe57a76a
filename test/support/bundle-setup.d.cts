/** Makes the bundle anew, for tests of its processes. */
declare function makeBundle(): void;
export = makeBundle;
