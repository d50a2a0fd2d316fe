# kNN in R without packages: from the folder's files to mean.mtx. Rscript external_knn.R <folder> <threads> <seed>

K <- 50

read_mtx <- function(path) {
  lines <- readLines(path)
  numbers <- matrix(scan(text = lines[!startsWith(lines, "%")], quiet = TRUE), ncol = 3, byrow = TRUE)
  X <- matrix(0, numbers[1, 1], numbers[1, 2])
  X[numbers[-1, 1:2, drop = FALSE]] <- numbers[-1, 3]
  X
}

# Cells in the panel space: median depth, log1p, z-scores per gene, length 1.
unit <- function(X) {
  total <- rowSums(X)
  logs <- log1p(X / total * median(total))
  center <- colMeans(logs)
  variance <- colMeans(logs^2) - center^2
  z <- sweep(sweep(logs, 2, center), 2, sqrt(ifelse(variance > 1e-10, variance, 1)), "/")
  z / sqrt(rowSums(z^2))
}

folder <- commandArgs(trailingOnly = TRUE)[1]
setwd(folder)
spatial <- read_mtx("spatial.mtx")
in_use <- readLines("spatial_genes.txt")
targets <- readLines("targets.txt")
cells <- as.integer(readLines("cells.txt"))

units <- values <- totals <- depths <- NULL
for (i in seq_along(list.files(pattern = "^reference[0-9]+[.]mtx$"))) {
  X <- read_mtx(sprintf("reference%d.mtx", i))
  genes <- readLines(sprintf("reference%d_genes.txt", i))
  about <- read.delim(sprintf("reference%d_cells.tsv", i))
  panel <- X[, match(in_use, genes), drop = FALSE]
  kept <- rowSums(panel) > 0
  units <- rbind(units, unit(panel[kept, , drop = FALSE]))
  totals <- c(totals, rowSums(panel)[kept])
  depths <- c(depths, about$depth[kept])
  values <- rbind(values, X[kept, match(targets, genes), drop = FALSE])  # NA where it lacks the gene
}
logs <- log1p(values * median(depths) / depths)
frequency <- colSums(values, na.rm = TRUE) / colSums(totals * !is.na(values))
factors <- frequency / colMeans(logs, na.rm = TRUE)

similarity <- unit(spatial)[cells, , drop = FALSE] %*% t(units)
mean_of <- function(row) {
  nearest <- order(-row)[seq_len(min(K, length(row)))]
  estimate <- colMeans(logs[nearest, , drop = FALSE], na.rm = TRUE) * factors
  ifelse(is.nan(estimate), frequency, estimate)
}
estimate <- matrix(apply(similarity, 1, mean_of), nrow = length(targets))
values <- formatC(as.vector(t(estimate)), digits = 9, format = "g")
writeLines(c("%%MatrixMarket matrix array real general", paste(length(cells), length(targets)), values), "mean.mtx")
