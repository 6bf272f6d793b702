"""Where tiles come from: folders of rasters, scenes with labels, SAT files, made-up scenes."""
