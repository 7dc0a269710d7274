import { describe, expect, test } from "vitest";
import { randomGenerator } from "../random.ts";
import { matrixOf, rowOf, times, timesTransposed, transposed, type Matrix } from "./matrix.ts";
import { thinQr } from "./qr.ts";
import { randomizedSvd, svdOfProduct, truncatedSvd, type Svd } from "./svd.ts";

/** Rounding of float64 over matrices of this size with singular values of order 1 to 10. */
const ROUNDING = 1e-13;
/** Singular values below the root of float64's precision lose digits by squaring the matrix. */
const SQUARED = 3e-8;

/** Entries ((7i + 3j²) mod 11) - 5; the numbers below are those of torch.linalg in float64. */
const SMALL = matrixOf(
  5,
  4,
  Array.from({ length: 20 }, (_, k) => ((7 * Math.floor(k / 4) + 3 * (k % 4) ** 2) % 11) - 5),
);
const TORCH_VALUES = [
  11.255796365696655, 7.890170965839112, 5.0146590471127706, 2.4301121260158545,
];
const TORCH_BEST_OF_RANK_2 = [
  [-3.124586476083798, -2.3344029404795474, -1.7972333126212203, 3.0063509769855883],
  [2.2539885988410795, 4.345710464347334, 3.8442318943678107, -3.739379861101072],
  [-2.575466925662784, -0.5653404966745865, -0.180760158400734, 1.6761803502762902],
  [5.299540734293401, -3.5842635589775242, -4.172317145163028, -0.6475549380538298],
  [2.070948748700742, 3.7560229830790157, 3.3054075096276505, -3.295989652197974],
];
const TORCH_Q = [
  [
    -0.6509445549041195, 0.26037782196164777, -0.26037782196164777, 0.6509445549041194,
    0.13018891098082389,
  ],
  [
    0.19113873227670936, -0.6471082381898229, -0.16810996935180458, 0.4882097740079803,
    -0.5273586709803184,
  ],
];
const TORCH_R = [
  [7.681145747868608, 0.9113223768657672, 0.6509445549041217, -3.124533863539773],
  [0, -7.359992630799554, -6.033535886325041, 4.2326866255974895],
];

function randomMatrix(rows: number, columns: number, seed = 1): Matrix {
  const random = randomGenerator(seed, "matrix");
  return matrixOf(
    rows,
    columns,
    Array.from({ length: rows * columns }, () => random.normal()),
  );
}

/** A matrix with given singular values. */
function withSpectrum(rows: number, columns: number, values: readonly number[]): Matrix {
  const [u, v] = [
    thinQr(randomMatrix(rows, values.length)),
    thinQr(randomMatrix(columns, values.length, 2)),
  ];
  for (const [k, value] of values.entries())
    for (let i = 0; i < rows; i++) rowOf(u.q, k)[i]! *= value;
  return times(transposed(u.q), v.q);
}

function product({ left, values, right }: Svd): Matrix {
  const scaled = { ...left, data: left.data.slice() };
  for (const [k, value] of values.entries())
    for (let i = 0; i < left.columns; i++) rowOf(scaled, k)[i]! *= value;
  return times(transposed(scaled), right);
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  return Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);
}

function fromOrthonormal(x: Matrix): number {
  const identity = Array.from({ length: x.rows ** 2 }, (_, k) => +(k % (x.rows + 1) === 0));
  return largestDifference(timesTransposed(x, x).data, identity);
}

describe("truncated singular value decomposition", () => {
  test("torch's numbers", () => {
    const svd = truncatedSvd(SMALL, 2);
    expect(largestDifference(svd.values, TORCH_VALUES.slice(0, 2))).toBeLessThan(ROUNDING);
    expect(largestDifference(product(svd).data, TORCH_BEST_OF_RANK_2.flat())).toBeLessThan(
      ROUNDING,
    );
    const { q, r } = thinQr(SMALL, 2);
    expect(largestDifference(q.data, TORCH_Q.flat())).toBeLessThan(ROUNDING);
    expect(largestDifference(r.data, TORCH_R.flat())).toBeLessThan(ROUNDING);
  });

  const spectra: Record<string, number[]> = {
    decaying: Array.from({ length: 20 }, (_, k) => 0.7 ** k),
    "with equal values": [5, 5, 5, 5, 3, 3, 3, 1, 1, 1],
    "of deficient rank": [4, 3, 2, 1, 0, 0, 0, 0],
    zero: [0, 0, 0],
  };
  for (const [name, spectrum] of Object.entries(spectra)) {
    for (const [rows, columns] of [
      [40, 25],
      [25, 40],
    ] as const) {
      test(`${name}, ${rows} x ${columns}: values, vectors, product`, () => {
        const a = withSpectrum(rows, columns, spectrum);
        const svd = truncatedSvd(a, spectrum.length);
        expect(largestDifference(svd.values, spectrum)).toBeLessThan(SQUARED);
        expect(largestDifference(product(svd).data, a.data)).toBeLessThan(ROUNDING);
        expect(fromOrthonormal(rows < columns ? svd.left : svd.right)).toBeLessThan(ROUNDING);
      });
    }
  }

  test("leaves its argument as it was", () => {
    const a = randomMatrix(6, 4);
    const before = a.data.slice();
    truncatedSvd(a, 3);
    expect(a.data).toEqual(before);
  });

  test("of a product, without forming it", () => {
    const [l, r] = [randomMatrix(30, 5), randomMatrix(5, 20, 2)];
    const svd = svdOfProduct(l, r, 5);
    const expected = truncatedSvd(times(l, r), 5);
    expect(largestDifference(svd.values, expected.values)).toBeLessThan(ROUNDING * 10);
    expect(largestDifference(product(svd).data, times(l, r).data)).toBeLessThan(ROUNDING * 10);
  });

  test("by random projection: exact where the spectrum ends, close where it decays, always the same", () => {
    const ends = withSpectrum(40, 25, [3, 2, 1]);
    expect(largestDifference(product(randomizedSvd(ends, 3, 1)).data, ends.data)).toBeLessThan(
      ROUNDING,
    );
    const decays = withSpectrum(40, 25, spectra["decaying"]!);
    const [svd, again] = [randomizedSvd(decays, 4, 12), randomizedSvd(decays, 4, 12)];
    expect(largestDifference(svd.values, spectra["decaying"]!.slice(0, 4))).toBeLessThan(1e-4);
    expect(again).toEqual(svd);
  });
});
