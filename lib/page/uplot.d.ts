// scripts/setup puts uPlot's module beside the page's.
import uPlot from 'uplot';

export default uPlot;
