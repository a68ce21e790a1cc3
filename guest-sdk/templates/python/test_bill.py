import unittest

from bill import split


class Split(unittest.TestCase):
    def test_parts_add_up(self):
        self.assertEqual(split(1000, [1, 1, 1]), [334, 333, 333])
        self.assertEqual(sum(split(4294967295, [65535, 1, 0])), 4294967295)

    def test_what_remains_goes_to_those_cut_the_most(self):
        self.assertEqual(split(100, [1, 1, 4]), [17, 17, 66])
        self.assertEqual(split(10, [3, 3, 1, 0]), [4, 4, 2, 0])

    def test_somebody_has_to_pay(self):
        for weights in [], [0, 0]:
            with self.assertRaises(ValueError):
                split(1000, weights)


if __name__ == "__main__":
    unittest.main()
