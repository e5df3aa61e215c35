// The exact game of tradeoff/theory/{plane,program,game}.py on D_B, for one or two lp balls: the same formulas and the
// same search, so that the page shows what game_value returns (tests/test_interactive.py holds them together).
//
// A classic script and not an ES module: browsers refuse to import modules into a page opened from a file. It declares
// the one name `game` and has no other effect; `module.exports` is for Node, which runs the tests.

const game = (() => {
  "use strict";
  const { abs, ceil, exp, expm1, floor, log, log1p, max, min } = Math;

  // ---- the normal distribution function

  /** Φ(x), to a relative 1e-12: Marsaglia's series (2004) in the middle, Laplace's continued fraction in the tails. */
  function ndtr(x) {
    if (x > 3) return 1 - ndtr(-x);
    if (!(x > -40)) return Number.isNaN(x) ? NaN : 0; // below the least double
    const density = exp(-x * x / 2) / 2.5066282746310002; // √2π
    if (x < -3) {
      let rest = -x;
      for (let k = 60; k > 0; k--) rest = -x + k / rest;
      return density / rest;
    }
    let term = x, sum = 0;
    for (let k = 3; sum + term !== sum; k += 2) {
      sum += term;
      term *= x * x / k;
    }
    return 0.5 + density * sum;
  }

  // ---- lp balls {p, eps} in the plane (x_0, T): half-widths along T, as in plane.py

  const LARGE = 1e100;

  const halfWidth = (S, d, a) => width(S, d, S.eps - abs(a));

  function width(S, d, gap) {
    if (gap < 0) return -Infinity;
    const full = S.eps * d ** (0.5 - 1 / S.p);
    if (gap >= S.eps || S.p === Infinity) return full;
    return full * (-expm1(S.p * log1p(-gap / S.eps))) ** (1 / S.p);
  }

  function logSlope(S, d, gap) {
    if (S.p === Infinity || (gap >= S.eps && S.p > 1)) return -Infinity;
    const scale = d ** (0.5 - 1 / S.p);
    if (S.p === 1) return log(scale);
    const w = width(S, d, gap);
    return w > 0 ? log(scale) + (S.p - 1) * log((S.eps - gap) * scale / w) : Infinity;
  }

  /** The half-width of the Minkowski sum of two balls at an x_0-offset > 0. */
  function sumWidth(A, B, d, offset) {
    const slack = A.eps + B.eps - offset;
    if (slack < 0) return -Infinity;
    const at = (gap) => width(A, d, gap) + width(B, d, slack - gap);
    if (A.p === B.p) return at(slack * (A.eps / (A.eps + B.eps)));
    let low = max(0, A.eps - offset), high = min(A.eps, slack);
    for (;;) { // concave
      const gap = (low + high) / 2;
      if (!(low < gap && gap < high)) break;
      if (logSlope(A, d, gap) > logSlope(B, d, slack - gap)) low = gap;
      else high = gap;
    }
    return max(at(low), at(high));
  }

  /** The half-width of the convex hull of balls: min over c ≥ 0 of max_S support_S(c, 1) - c|a|. */
  function hullWidth(sets, d, a) {
    a = abs(a);
    if (max(...sets.map((S) => S.eps)) < a) return -Infinity;
    if (a === 0) return max(...sets.map((S) => halfWidth(S, d, 0)));
    const line = (S, c) => {
      if (S.eps === 0) return [-c * a, -a];
      const w = d ** (0.5 - 1 / S.p);
      if (S.p === 1) return c > w ? [c * (S.eps - a), S.eps - a] : [S.eps * w - c * a, -a];
      const q = S.p === Infinity ? 1 : S.p / (S.p - 1);
      const grown = softplus(q * log(w / c));
      const slope = a * expm1(log(S.eps / a) + (1 / q - 1) * grown);
      if (c < w) return [S.eps * w * exp((grown - q * log(w / c)) / q) - c * a, slope];
      return [c * a * expm1(log(S.eps / a) + grown / q), slope];
    };
    let low = -200, high = 200, value; // of log c
    for (let k = 0; k < 64; k++) {
      const middle = (low + high) / 2;
      let best = [-Infinity, -Infinity];
      for (const S of sets) {
        const found = line(S, exp(middle));
        if (found[0] > best[0] || (found[0] === best[0] && found[1] > best[1])) best = found;
      }
      value = best[0];
      if (best[1] > 0) high = middle;
      else low = middle;
    }
    return value;
  }

  const softplus = (z) => max(z, 0) + log1p(exp(-abs(z)));

  /** The half-width of each adversary's set, as a function of the x_0-offset. */
  function widths(d, sets, adversary) {
    if (adversary === "average") return sets.map((S) => (a) => halfWidth(S, d, a));
    if (adversary === "union") return [(a) => max(...sets.map((S) => halfWidth(S, d, a)))];
    return [(a) => hullWidth(sets, d, a)];
  }

  /** [G_ij(0), G_ij(2)]: half-widths of the Minkowski sums of the adversaries' sets. */
  function sums(d, sets, adversary) {
    if (adversary === "affine") {
      return [0, 1].map((a) => [[min(2 * hullWidth(sets, d, a), LARGE)]]);
    }
    const centre = sets.map((S) => halfWidth(S, d, 0));
    const stay = centre.map((a) => centre.map((b) => min(a + b, LARGE)));
    const flip = sets.map((A, i) => sets.map((B, j) => min(j > i ? sumWidth(B, A, d, 2) : sumWidth(A, B, d, 2), LARGE)));
    return adversary === "average" ? [stay, flip] : [stay, flip].map((G) => [[max(...G.flat())]]);
  }

  // ---- the finite program, as in program.py

  const REACH = 7, WIDTH = 44, BLOCKS = 6, STARTS = 6, AROUND = 6, KEPT = 3;
  const STEPS = [1 / 32, 1 / 32];
  for (let k = 7; k < 26; k += 2) STEPS.push(2 ** -k);
  const GIVE_UP = [[Infinity, Infinity], [-Infinity, -Infinity]];
  const clip = (z, low, high) => min(max(z, low), high);
  const modulo = (z, step) => ((z % step) + step) % step;

  /** One set: closed form. stay and flip are G(0) and G(2). */
  function oneSet(p0, alpha, stay, flip) {
    let level = flip / 2;
    if (stay < 2 * alpha) level = max(level, stay / 2 - log(p0 / (1 - p0)) / (2 * alpha - stay));
    const value = p0 * ndtr(level - alpha) + (1 - p0) * ndtr(stay - level - alpha);
    if (value >= 0.5) return { value: 0.5, thresholds: [GIVE_UP] };
    return { value, thresholds: [[[level, stay - level], [level, stay - level]]] };
  }

  /** Two sets: a coarse grid of all levels, then finer ones around its best, each exact in what it rounds. */
  function twoSets(p0, alpha, b, flip, weights) {
    const given = { p0, alpha, b, flip, weights };
    if (!(flip[0][1] < 2 * alpha || min(...weights) < 0.5)) return { value: 0.5, thresholds: [GIVE_UP, GIVE_UP] };
    const middle = b.map((z) => alpha + modulo(z - alpha, 1 / 8));
    let best = [...search(given, middle, middle, 1 / 8, WIDTH, BLOCKS), ...alike(given)];
    STEPS.forEach((step, turn) => {
      const reach = (AROUND - 1) * step;
      best = best.map((start) => {
        for (;;) {
          const [found] = search(given, start.M, start.N, step, AROUND, 1);
          const edge = ["M", "N"].some((key) =>
            found[key].some((z, i) => z > start[key][i] + reach || z < start[key][i] - reach));
          const goOn = turn && edge && found.value < start.value - step * 1e-6;
          if (found.value < start.value) start = found;
          if (!goOn) return start;
        }
      });
      best.sort((x, y) => x.value - y.value);
      best = best.slice(0, turn ? 1 : KEPT);
    });
    const solution = promised(given, best[0]), { value } = solution;
    if (value >= 0.5) return { value: 0.5, thresholds: [GIVE_UP, GIVE_UP] };
    const lost = alpha + REACH - STEPS.at(-1); // however large the sums
    const [M, N] = [solution.M, solution.N].map((X) => X.map((z) => (z < lost ? z : Infinity)));
    const flipped = [N, M].map((X) => b.map((z) => z + max(b[0] - X[0], b[1] - X[1])));
    return { value, thresholds: [0, 1].map((i) => [[M[i], flipped[0][i]], [N[i], flipped[1][i]]]) };
  }

  /** The solution, with thresholds that keep the constraints that the program drops too: at p0 = ½ others may be as
   * good as these. */
  function promised({ alpha, b, weights }, solution) {
    const [m, n] = [solution.M, solution.N].map((X) => min(X[0] - b[0], X[1] - b[1]));
    const least = (t) =>
      b.reduce((sum, z, i) => sum + weights[i] * (ndtr(z + t - alpha) + ndtr(z - t - alpha)), 0) / 2;
    const t = least(m) <= least(-n) ? m : -n;
    if (!(m + n > 0 && least(t) <= solution.value + 1e-12)) return solution; // never more, but for rounding
    return { value: min(least(t), solution.value), M: b.map((z) => z + t), N: b.map((z) => z - t) };
  }

  /** Starts with M = N that the first grid may miss. */
  function alike({ p0, alpha, b, flip, weights }) {
    const level = b.map((z, i) => {
      const free = z < alpha ? z - log(p0 / (1 - p0)) / max(2 * (alpha - z), 1e-300) : -Infinity;
      return clip(max(free, flip[i][i] / 2), alpha - REACH, 1e300);
    });
    const first = [level[0], max(level[1], flip[0][1] - level[0])];
    const second = [max(level[0], flip[0][1] - level[1]), level[1]];
    const least = max(...flip.flatMap((row, i) => row.map((G, j) => G - b[i] - b[j]))) / 2;
    let best = [Infinity, 0];
    for (let k = 0; k <= 64; k++) {
      const t = clip(least, -alpha - REACH, 0) * (k / 64);
      const value = weights.reduce(
        (sum, p, i) => sum + p * (p0 * ndtr(b[i] + t - alpha) + (1 - p0) * ndtr(b[i] - t - alpha)), 0);
      if (value < best[0]) best = [value, t];
    }
    const third = b.map((z) => z + best[1]);
    return [first, second, third].map((M) => ({ value: risk({ p0, alpha, b, weights }, M, M), M, N: M }));
  }

  /** The best M, N within `count` steps of the given ones, or infinite; with blocks, of the best blocks of M. */
  function search(given, M, N, step, count, blocks) {
    const { alpha, b, flip } = given;
    const every = blocks === 1 ? 1 : 2;
    const ladder = (z, by) => {
      const rungs = [];
      for (let k = -count; k <= count; k += by) rungs.push(z + step * k);
      return [...rungs, Infinity];
    };
    const X = M.map((z) => ladder(z, 1)), Y = N.map((z) => ladder(z, every));
    const m = X[0].length, n = Y[0].length;
    const costM = table(given, X), costN = table(given, Y);
    const need = [0, 1].map((i) => [0, 1].map((j) => X[i].map((x) => clip(
      ceil((flip[i][j] - x - Y[j][0]) / (step * every) - (blocks > 1 ? 0.5 : 1e-6)), 0, n - 1))));
    const bestSecond = Float64Array.from(costN), bestN = new Float64Array(n * n);
    for (let k = n - 1; k >= 0; k--) {
      for (let l = n - 2; l >= 0; l--) bestSecond[k * n + l] = min(bestSecond[k * n + l], bestSecond[k * n + l + 1]);
      for (let l = 0; l < n; l++) bestN[k * n + l] = min(bestSecond[k * n + l], k < n - 1 ? bestN[(k + 1) * n + l] : Infinity);
    }
    const size = m / blocks, found = [];
    for (let k = 0; k < blocks ** 2; k++) found.push({ cost: Infinity, i: [0, 0] });
    for (let k = 0; k < m; k++) {
      for (let l = 0; l < m; l++) {
        const first = max(need[0][0][k], need[1][0][l]), second = max(need[0][1][k], need[1][1][l]);
        const cost = costM[k * m + l] + bestN[first * n + second];
        const block = found[floor(k / size) * blocks + floor(l / size)];
        if (cost < block.cost) Object.assign(block, { cost, i: [k, l] });
      }
    }
    found.sort((x, y) => x.cost - y.cost);
    return found.slice(0, blocks === 1 ? 1 : STARTS).map(({ i }) => {
      const first = max(need[0][0][i[0]], need[1][0][i[1]]), second = max(need[0][1][i[0]], need[1][1][i[1]]);
      let j0 = first, j1 = second;
      for (let k = first; k < n; k++) if (bestSecond[k * n + second] < bestSecond[j0 * n + second]) j0 = k;
      for (let l = second; l < n; l++) if (costN[j0 * n + l] < costN[j0 * n + j1]) j1 = l;
      const newM = [X[0][i[0]], X[1][i[1]]];
      // What the grid rounds is exact again.
      const tight = [0, 1].map((j) => max(flip[0][j] - newM[0], flip[1][j] - newM[1], alpha - REACH));
      const loose = [Y[0][j0], Y[1][j1]].map((z, j) => max(z, tight[j]));
      const tightest = loose.map((z, j) => (z - tight[j] < step * every ? tight[j] : z));
      const values = [risk(given, newM, loose), risk(given, newM, tightest)];
      return { value: min(...values), M: newM, N: values[1] < values[0] ? tightest : loose };
    });
  }

  /** F of all pairs of levels, row by row. */
  function table({ p0, alpha, b, weights }, X) {
    const m = X[0].length;
    const lost = X.map((row, i) => row.map((x) => p0 * weights[i] * ndtr(x - alpha)));
    const flipped = X.map((row, j) => row.map((x) =>
      (1 - p0) * (weights[0] * ndtr(b[0] + (b[j] - x) - alpha) + weights[1] * ndtr(b[1] + (b[j] - x) - alpha))));
    const cells = new Float64Array(m * m);
    for (let k = 0; k < m; k++) {
      for (let l = 0; l < m; l++) cells[k * m + l] = lost[0][k] + lost[1][l] + max(flipped[0][k], flipped[1][l]);
    }
    return cells;
  }

  /** ½ [F(M) + F(N)]. */
  function risk({ p0, alpha, b, weights }, M, N) {
    let sum = 0;
    for (const X of [M, N]) {
      const flipped = max(b[0] - X[0], b[1] - X[1]);
      for (const i of [0, 1]) sum += weights[i] * (p0 * ndtr(X[i] - alpha) + (1 - p0) * ndtr(b[i] + flipped - alpha));
    }
    return sum / 2;
  }

  // ---- what the page asks

  /** {value, thresholds} of game_value(BernoulliFeature(alpha, d, p0), sets, adversary, weights). */
  function gameValue({ alpha, d, p0 }, sets, adversary, weights = sets.map(() => 1 / sets.length)) {
    const [stay, flip] = sums(d, sets, adversary);
    if (stay.length === 1) return oneSet(p0, alpha, stay[0][0], flip[0][0]);
    return twoSets(p0, alpha, [stay[0][0] / 2, stay[1][1] / 2], flip, weights);
  }

  /** Whether the geometry alone excludes any risk below ½: `exclusive` of game.py. */
  function exclusive({ alpha, d }, sets, adversary) {
    const [, flip] = sums(d, sets, adversary);
    const pairs = flip.length === 1 ? flip[0] : flip.flatMap((row, i) => row.filter((_, j) => i !== j));
    return pairs.every((G) => G >= 2 * alpha * (1 - 1e-12));
  }

  /** Two thresholds on T at x_0: an optimal classifier answers -1 below `low`, +1 above `high`, either in between. */
  function regions(d, sets, adversary, { thresholds }) {
    const hw = widths(d, sets, adversary);
    return (x0) => {
      let low = -Infinity, high = Infinity;
      thresholds.forEach(([M, N], i) => [1, -1].forEach((s, k) => {
        const up = hw[i]((x0 - s) * (1 - 1e-12)), down = hw[i]((x0 + s) * (1 - 1e-12));
        if (up >= 0) high = min(high, M[k] - up);
        if (down >= 0) low = max(low, down - N[k]);
      }));
      return { low, high };
    };
  }

  return { ndtr, halfWidth, hullWidth, widths, gameValue, exclusive, regions };
})();

if (typeof module !== "undefined") module.exports = game;
