"""Files: HDF5, npz, atomic writes, safe pickles, caches."""
