from transeg.classical.graph_cut import energy, graph_cut
