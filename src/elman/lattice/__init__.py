"""Sums, best paths and samples over the paths of a time x state grid: CTC, HMM and CRF are such grids."""
