/* Traces rays into a scene of balls and a mirror over a chequered floor, and draws it in characters, row by row. Then it
 * says how often each thing was hit. Arguments: width, height, rays for each character. Vectors and rays are objects that
 * the collector of AssemblyScript's runtime clears away. Nothing in here knows that it may be moved. */

class Vec {
  constructor(readonly x: f64, readonly y: f64, readonly z: f64) {}

  plus(other: Vec): Vec {
    return new Vec(this.x + other.x, this.y + other.y, this.z + other.z);
  }

  minus(other: Vec): Vec {
    return new Vec(this.x - other.x, this.y - other.y, this.z - other.z);
  }

  times(by: f64): Vec {
    return new Vec(this.x * by, this.y * by, this.z * by);
  }

  dot(other: Vec): f64 {
    return this.x * other.x + this.y * other.y + this.z * other.z;
  }

  unit(): Vec {
    return this.times(1 / Math.sqrt(this.dot(this)));
  }
}

/** The direction is of length one. */
class Ray {
  constructor(readonly from: Vec, readonly direction: Vec) {}

  at(distance: f64): Vec {
    return this.from.plus(this.direction.times(distance));
  }
}

/** How bright a thing is at a point. */
type Paint = (at: Vec) => f64;

const NEAR: f64 = 1e-6;

abstract class Shape {
  constructor(readonly name: string, readonly paint: Paint, readonly mirrors: f64) {}

  /** How far away the ray meets it, or infinity. */
  abstract meets(ray: Ray): f64;
  abstract normal(at: Vec): Vec;
}

class Ball extends Shape {
  constructor(name: string, paint: Paint, mirrors: f64, readonly middle: Vec, readonly radius: f64) {
    super(name, paint, mirrors);
  }

  meets(ray: Ray): f64 {
    const away = ray.from.minus(this.middle);
    const b = away.dot(ray.direction);
    const inside = b * b - away.dot(away) + this.radius * this.radius;
    if (inside < 0) return Infinity;
    const root = Math.sqrt(inside);
    if (-b - root > NEAR) return -b - root;
    return -b + root > NEAR ? -b + root : Infinity;
  }

  normal(at: Vec): Vec {
    return at.minus(this.middle).unit();
  }
}

class Plane extends Shape {
  constructor(name: string, paint: Paint, mirrors: f64, readonly point: Vec, readonly up: Vec) {
    super(name, paint, mirrors);
  }

  meets(ray: Ray): f64 {
    const slope = ray.direction.dot(this.up);
    if (slope > -NEAR) return Infinity; // from behind it is not seen
    const distance = this.point.minus(ray.from).dot(this.up) / slope;
    return distance > NEAR ? distance : Infinity;
  }

  normal(at: Vec): Vec {
    return this.up;
  }
}

class Disc extends Plane {
  constructor(name: string, paint: Paint, mirrors: f64, point: Vec, up: Vec, readonly radius: f64) {
    super(name, paint, mirrors, point, up);
  }

  meets(ray: Ray): f64 {
    const distance = super.meets(ray);
    if (distance == Infinity) return Infinity;
    const out = ray.at(distance).minus(this.point);
    return out.dot(out) <= this.radius * this.radius ? distance : Infinity;
  }
}

class Hit {
  constructor(readonly shape: Shape, readonly distance: f64) {}
}

class Scene {
  readonly hits: Map<string, u32> = new Map();
  rays: u32 = 0;

  constructor(readonly shapes: Shape[], readonly lamp: Vec) {}

  nearest(ray: Ray): Hit | null {
    this.rays++;
    let best: Hit | null = null, nearest = Infinity;
    for (let i = 0; i < this.shapes.length; i++) {
      const distance = this.shapes[i].meets(ray);
      if (distance < nearest) {
        nearest = distance;
        best = new Hit(this.shapes[i], distance);
      }
    }
    return best;
  }

  /** How bright it is where the ray comes from. */
  light(ray: Ray, depth: i32): f64 {
    const hit = this.nearest(ray);
    if (!hit) return 0.02 + 0.1 * Math.max(0, ray.direction.y);
    const shape = hit.shape;
    const before = this.hits.has(shape.name) ? this.hits.get(shape.name) : 0;
    this.hits.set(shape.name, before + 1);
    const at = ray.at(hit.distance);
    const normal = shape.normal(at);
    const to = this.lamp.minus(at);
    const far = Math.sqrt(to.dot(to));
    let lit = 0.1;
    const facing = to.dot(normal) / far;
    if (facing > 0) {
      const between = this.nearest(new Ray(at, to.times(1 / far)));
      if (!between || between.distance > far) lit += 0.9 * facing;
    }
    let bright = shape.paint(at) * lit * (1 - shape.mirrors);
    if (shape.mirrors > 0 && depth > 0) {
      const back = normal.times(2 * ray.direction.dot(normal));
      bright += shape.mirrors * this.light(new Ray(at, ray.direction.minus(back).unit()), depth - 1);
    }
    return bright;
  }
}

/** Numbers that look drawn, the same at every run. */
class Drawn {
  private state: u64 = 88172645463325252;

  /** From 0 to 1. */
  next(): f64 {
    this.state ^= this.state << 13;
    this.state ^= this.state >> 7;
    this.state ^= this.state << 17;
    return <f64>(this.state >> 11) / 9007199254740992;
  }
}

function plain(at: Vec): f64 {
  return 0.9;
}

function chequered(at: Vec): f64 {
  return (<i64>(Math.floor(at.x) + Math.floor(at.z)) & 1) == 0 ? 0.9 : 0.2;
}

function striped(at: Vec): f64 {
  return 0.6 + 0.4 * Math.sin(12 * at.y);
}

function scene(): Scene {
  const shapes: Shape[] = [
    new Plane("floor", chequered, 0.1, new Vec(0, -1, 0), new Vec(0, 1, 0)),
    new Disc("mirror", plain, 0.9, new Vec(0, 0.5, 8), new Vec(0.3, 0.1, -1).unit(), 3),
    new Ball("glass", plain, 0.7, new Vec(0, 0, 4), 1),
  ];
  for (let i = 0; i < 5; i++) {
    const angle = 0.4 + 2 * Math.PI * i / 5;
    const middle = new Vec(2.2 * Math.cos(angle), -0.6, 4 + 2.2 * Math.sin(angle));
    shapes.push(new Ball(`ball ${i}`, i % 2 == 0 ? striped : plain, 0.1, middle, 0.4));
  }
  return new Scene(shapes, new Vec(-4, 6, 0));
}

/** The argument at a place, or what there is without it; 0 if it is no number. */
function argument(at: i32, otherwise: i32): i32 {
  if (at >= process.argv.length) return otherwise;
  const number = parseInt(process.argv[at], 10);
  return number >= 1 && number <= 8192 ? <i32>number : 0;
}

function main(): i32 {
  const width = argument(1, 72), height = argument(2, 30), each = argument(3, 64);
  if (!width || !height || !each) {
    process.stderr.write("usage: rays WIDTH HEIGHT RAYS\n");
    return 64;
  }
  const shades = " .:-=+*#%@", world = scene(), drawn = new Drawn(), eye = new Vec(0, 0.6, -2);
  let sum: f64 = 0;
  for (let j = 0; j < height; j++) {
    let line = "";
    for (let i = 0; i < width; i++) {
      let bright: f64 = 0;
      for (let n = 0; n < each; n++) {
        const x = 2.4 * ((i + drawn.next()) / width - 0.5), y = 1.8 * (0.5 - (j + drawn.next()) / height);
        bright += world.light(new Ray(eye, new Vec(x, y - 0.15, 1.6).unit()), 5);
      }
      bright /= each;
      sum += bright;
      line += shades.charAt(<i32>Math.min(9, 10.5 * Math.sqrt(bright)));
    }
    process.stdout.write(line + "\n");
  }
  const names = world.hits.keys().sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  for (let i = 0; i < names.length; i++) {
    process.stdout.write(`${names[i]}: ${world.hits.get(names[i])}\n`);
  }
  process.stdout.write(`${world.rays} rays, brightness ${sum / (<f64>width * <f64>height)}\n`);
  return 0;
}

const status = main();
if (status) process.exit(status);
