// Divides an amount by the method of the largest remainder. Every product stays below 2^48, so
// numbers are exact.

/** One part for each weight, in the same order. The parts add up to `total`. */
export function split(total, weights) {
  const whole = weights.reduce((sum, weight) => sum + weight, 0);
  if (whole === 0) throw "nobody pays: give at least one payer a weight above 0";
  const parts = weights.map((weight) => Math.floor((total * weight) / whole));
  const left = total - parts.reduce((sum, part) => sum + part, 0);

  const cut = (payer) => (total * weights[payer]) % whole;
  const mostCut = [...weights.keys()].sort((a, b) => cut(b) - cut(a));
  for (const payer of mostCut.slice(0, left)) parts[payer] += 1;
  return parts;
}
