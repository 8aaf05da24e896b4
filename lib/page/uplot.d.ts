// scripts/setup copies uPlot's module next to the page's modules.
import uPlot from 'uplot';

export default uPlot;
